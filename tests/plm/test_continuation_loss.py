"""The loss of continuations compared with transformers' own, for each family."""

import pytest
import torch
import transformers as tf
from torch.nn import functional as F

from recbole_clickprompt.plm import head_loss as head_loss_module
from recbole_clickprompt.plm.continuation_loss import continuation_loss, find_head_scale
from recbole_clickprompt.plm.head_loss import head_loss
from tests.plm.generative_models import FAMILIES, config_of

END = 0  # also the padding token of these models
INPUTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16]]
TARGETS = [[20, 21, END], [22, 23, 24, 25, END], [26, END]]


def model_of(family, **changes):
    torch.manual_seed(1)
    config = config_of(family, layers=2)
    for name, value in changes.items():
        setattr(config, name, value)
    kind = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    return kind.from_config(config).eval()


def padded(rows, value, side="right"):
    width = max(map(len, rows)) + 3
    filled = [[value] * (width - len(row)) for row in rows]
    return torch.tensor([[*f, *r] if side == "left" else [*r, *f] for r, f in zip(rows, filled, strict=True)])


def transformers_loss(model, side="right"):
    """The mean over target tokens as transformers computes it from labels; -100 is ignored."""
    if model.config.is_encoder_decoder:
        mask = padded([[1] * len(row) for row in INPUTS], 0, side)
        return model(input_ids=padded(INPUTS, 0, side), attention_mask=mask, labels=padded(TARGETS, -100)).loss
    texts = [x + y for x, y in zip(INPUTS, TARGETS, strict=True)]
    labels = [[-100] * len(x) + y for x, y in zip(INPUTS, TARGETS, strict=True)]
    mask = padded([[1] * len(row) for row in texts], 0, side)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return model(
        input_ids=padded(texts, 0, side), attention_mask=mask, position_ids=positions,
        labels=padded(labels, -100, side),
    ).loss  # fmt: skip


def target_logits(model, text, target):
    """Logits of the tokens of one target, by transformers."""
    if model.config.is_encoder_decoder:
        return model(input_ids=torch.tensor([text]), labels=torch.tensor([target])).logits[0]
    return model(input_ids=torch.tensor([text + target])).logits[0, len(text) - 1 : -1]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_transformers_loss_on_whichever_side_the_padding_is(family, side):
    if (family, side) == ("bart", "left"):
        pytest.skip("BART counts positions from the first column, padding included")
    model = model_of(family)
    loss, correct = continuation_loss(model, INPUTS, TARGETS, head_scale=find_head_scale(model))
    assert loss.item() == pytest.approx(transformers_loss(model, side).item(), abs=1e-5)
    assert correct.shape == (sum(map(len, TARGETS)),)


@pytest.mark.parametrize("family", FAMILIES)
def test_its_gradients_are_those_of_transformers(family):
    ours, theirs = model_of(family), model_of(family)
    continuation_loss(ours, INPUTS, TARGETS, head_scale=find_head_scale(ours))[0].backward()
    transformers_loss(theirs).backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-6)


def test_the_head_is_applied_to_states_directly_where_that_is_the_same():
    assert {family: find_head_scale(model_of(family)) for family in FAMILIES} == {
        "llama": 1.0, "qwen2": 1.0, "gpt2": 1.0, "bart": 1.0, "t5": 32**-0.5,
    }  # fmt: skip


def test_a_model_that_changes_its_logits_computes_them_itself():
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = tf.Gemma2Config(
        **shape, num_hidden_layers=2, head_dim=8, vocab_size=264, final_logit_softcapping=0.5,
        initializer_range=0.5, pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    model = tf.Gemma2ForCausalLM(config).eval()
    assert find_head_scale(model) is None
    loss, _ = continuation_loss(model, INPUTS, TARGETS, head_scale=None)
    assert loss.item() == pytest.approx(transformers_loss(model).item(), abs=1e-5)


def test_the_end_token_is_in_the_loss_although_it_is_the_padding_token():
    model = model_of("llama")
    loss, correct = continuation_loss(model, [[5, 6]], [[END]], head_scale=1.0)
    logits = model(input_ids=torch.tensor([[5, 6]])).logits[0, -1]
    assert loss.item() == pytest.approx(-logits.log_softmax(0)[END].item(), abs=1e-5)
    assert len(correct) == 1


@pytest.mark.parametrize("own_logits", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_among_candidates_other_tokens_have_no_probability(family, own_logits):
    model = model_of(family)
    candidates = torch.tensor(sorted({3, 200, *(token for target in TARGETS for token in target)}))
    scale = None if own_logits else find_head_scale(model)
    loss, _ = continuation_loss(model, INPUTS, TARGETS, head_scale=scale, candidates=candidates)
    texts = zip(INPUTS, TARGETS, strict=True)
    expected = torch.cat([target_logits(model, x, y)[:, candidates].log_softmax(1) for x, y in texts])
    labels = torch.searchsorted(candidates, torch.tensor([token for target in TARGETS for token in target]))
    assert loss.item() == pytest.approx(torch.nn.functional.nll_loss(expected, labels).item(), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_company_and_padding_do_not_change_the_loss_of_a_text(family):
    model = model_of(family)
    scale = find_head_scale(model)
    alone = [
        continuation_loss(model, [x], [y], head_scale=scale)[0].item() * len(y)
        for x, y in zip(INPUTS, TARGETS, strict=True)
    ]
    together = continuation_loss(model, INPUTS, TARGETS, head_scale=scale)[0].item()
    assert together == pytest.approx(sum(alone) / sum(map(len, TARGETS)), abs=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_the_head_in_chunks_is_the_whole_head(bias, monkeypatch):
    monkeypatch.setitem(head_loss_module._LOGITS_PER_CHUNK, "cpu", 3 * 50)  # 3 tokens at once
    torch.manual_seed(2)
    states, weight = torch.randn(10, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    offset = torch.randn(50, requires_grad=True) if bias else None
    labels = torch.randint(0, 50, (10,))
    variables = [states, weight] + ([offset] if bias else [])
    loss, correct = head_loss(states, weight, offset, labels)
    gradients = torch.autograd.grad(2 * loss, variables)
    logits = F.linear(states, weight, offset)
    expected = F.cross_entropy(logits, labels)
    torch.testing.assert_close(loss, expected)
    assert torch.equal(correct, logits.argmax(1) == labels)
    for found, right in zip(gradients, torch.autograd.grad(2 * expected, variables), strict=True):
        torch.testing.assert_close(found, right)


def test_the_head_in_bf16_differs_by_rounding_only():
    torch.manual_seed(2)
    states, weight = torch.randn(10, 64, requires_grad=True), (torch.randn(50, 64) / 8).requires_grad_()
    labels = torch.randint(0, 50, (10,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = head_loss(states, weight, None, labels)
    found = torch.autograd.grad(loss, [states, weight])
    exact, _ = head_loss(states, weight, None, labels)
    expected = torch.autograd.grad(exact, [states, weight])
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype is torch.float32
        assert F.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.999


def test_without_gradients_none_are_computed():
    weight = torch.randn(50, 8)
    loss, _ = head_loss(torch.randn(10, 8), weight, None, torch.randint(0, 50, (10,)))
    assert not loss.requires_grad

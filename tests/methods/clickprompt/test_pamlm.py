"""PA-MLM: what is masked, what is counted, how parts of a batch add up."""

import pytest
import torch
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.clickprompt.builders import build_pamlm
from recbole_clickprompt.trainer.running_metrics import compute_and_reset
from tests.conftest import FAMILIES


@pytest.fixture
def setting(make_config, make_data):
    config = make_config(plm_dropout=0.0, micro_batch_size=8)
    dataset = make_data(config)[0]._dataset
    torch.manual_seed(0)
    return build_pamlm(config, dataset), dataset[torch.arange(32)]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_four_micro_batches_of_8_equal_one_of_32(setting):
    model, rows = setting

    def run(size):
        torch.manual_seed(1)
        return gradients(model, sum(w * model.calculate_loss(part) for part, w in model.split(rows, size)))

    whole, parts = run(32), run(8)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_cross_entropy_at_masked_positions_only(setting):
    model, rows = setting
    ((part, weight),) = model.masked_parts(rows, 32)
    assert weight == 1.0
    q, _ = model.backbone(part.interaction)
    logits = model.lm_head.head(model.plm(part.masked.text, part.lengths, model.prompt(q)))  # at every position
    labels = torch.full_like(part.masked.text, -100)
    row, slot = torch.nonzero(part.masked.labels >= 0, as_tuple=True)
    labels[row, part.masked.positions[row, slot]] = part.masked.labels[row, slot]
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(model.calculate_loss(part), expected, rtol=0, atol=1e-5)


def test_ids_stay_intact_while_their_text_is_masked(setting):
    model, rows = setting
    tokens, _ = model.text.table(rows)
    order = model.text.table.lengths(rows).argsort(stable=True)
    ((part, _),) = model.masked_parts(rows, 32)
    assert torch.equal(part.interaction["user_id"], rows["user_id"][order])
    assert not torch.equal(part.masked.text, tokens[order])


def test_rows_of_special_tokens_alone_are_left_out(setting):
    model, rows = setting
    model.text.masker.special[:] = True
    assert model.split(rows, 8) == []


def test_gradients_reach_the_backbones_embeddings_through_the_prompts(setting):
    model, rows = setting
    table = model.backbone.model.token_embedding_table.embedding.weight
    ((part, _),) = model.masked_parts(rows, 32)
    gradient = gradients(model, model.calculate_loss(part))[
        "backbone.model.token_embedding_table.embedding.weight"
    ]
    assert gradient.shape == table.shape
    assert gradient.abs().sum() > 0


def test_every_prompt_matters(setting):
    model, rows = setting
    ((part, _),) = model.masked_parts(rows, 32)
    with torch.no_grad():
        shown, _ = model.logits(part)
        hidden, _ = model.logits(part, prompt_mask=torch.zeros(32, 2, dtype=torch.bool))
    assert (shown - hidden).abs().max() > 1e-3


def test_the_head_shares_its_decoder_with_the_embeddings_and_trains_at_the_plms_rate(setting):
    model, _ = setting
    pretrained = {id(p) for p in model.pretrained_parameters()}
    assert id(model.lm_head.head.predictions.decoder.weight) in pretrained
    assert id(model.lm_head.head.predictions.transform.dense.weight) in pretrained
    model.new_head = True
    pretrained = {id(p) for p in model.pretrained_parameters()}
    assert id(model.lm_head.head.predictions.decoder.weight) in pretrained
    assert id(model.lm_head.head.predictions.transform.dense.weight) not in pretrained


def test_accuracy_counts_recovered_tokens(setting):
    model, rows = setting
    ((part, _),) = model.masked_parts(rows, 32)
    with torch.no_grad():
        logits, labels = model.logits(part)
        loss = model.calculate_loss(part).item()
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    figures = compute_and_reset(model.metrics, torch.device("cpu"))
    assert figures == {"mlm_loss": pytest.approx(loss), "mlm_accuracy": pytest.approx(accuracy)}
    assert compute_and_reset(model.metrics, torch.device("cpu")) == {"mlm_loss": 0.0, "mlm_accuracy": 0.0}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("bart", "t5")])
def test_a_smaller_vocabulary_gives_the_logits_of_its_tokens(make_config, make_data, tiny_plms, family):
    def build(vocabulary):
        config = make_config(plm=str(tiny_plms[family]), plm_dropout=0.0, mlm_candidates=vocabulary)
        dataset = make_data(config)[0]._dataset
        torch.manual_seed(0)
        model = build_pamlm(config, dataset).eval()
        torch.manual_seed(1)
        ((part, _),) = model.masked_parts(dataset[torch.arange(8)], 8)
        return model, part

    whole, part = build("plm")
    some, same = build("data")
    assert torch.equal(part.masked.labels, same.masked.labels)
    (all_logits, tokens), (logits, labels) = whole.logits(part), some.logits(same)
    assert logits.shape[1] == len(some.vocabulary) < all_logits.shape[1]
    torch.testing.assert_close(logits, all_logits[:, some.vocabulary])
    assert torch.equal(some.vocabulary[labels], tokens)


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_a_decoder_has_no_smaller_vocabulary(make_config, make_data, tiny_plms, family):
    config = make_config(plm=str(tiny_plms[family]), mlm_candidates="data")
    with pytest.raises(SettingError, match="not with a decoder; use plm"):
        build_pamlm(config, make_data(config)[0]._dataset)

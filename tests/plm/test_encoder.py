"""The prompted encoder against the plain form of Eq. 7: concatenate, run transformers' layer, drop."""

import pytest
import torch
import transformers as tf
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from benchmarks.stages.reference import run_with_prompts
from recbole_clickprompt.plm.architectures import build_adapter
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_plm
from recbole_clickprompt.plm.prompted_layer import LayerInputs, PromptedLayer
from tests.conftest import CAUSAL, ROTARY

B, Z, K = 4, 11, 3


@pytest.fixture
def encoder(plm_folder):
    return PromptedEncoder(load_plm(plm_folder, num_layers=None, dropout=0.0).encoder)


@pytest.fixture
def text():
    torch.manual_seed(1)
    lengths = torch.tensor([11, 4, 7, 2])
    input_ids = torch.randint(5, 100, (B, Z))
    return input_ids.masked_fill(torch.arange(Z) >= lengths.unsqueeze(1), 1), lengths


@pytest.fixture
def prompts(encoder):
    torch.manual_seed(2)
    return torch.randn(encoder.num_layers, B, K, encoder.hidden_size, requires_grad=True)


def blocks(plm):
    """transformers' own layers in their order."""
    family = plm.config.model_type
    if family == "albert":
        return [plm.encoder.albert_layer_groups[0].albert_layers[0]] * plm.config.num_hidden_layers
    if family == "distilbert":
        return plm.transformer.layer
    if family in ("gpt2", "t5"):
        return plm.h if family == "gpt2" else plm.block
    return plm.layers if family in ("bart", "modernbert", *ROTARY) else plm.encoder.layer


def window_of(plm, layer):
    """The largest distance at which tokens of the text attend to each other in transformers' layer, or None."""
    family = plm.config.model_type
    if family == "mistral":
        return plm.config.sliding_window - 1
    if family in ("qwen2", "qwen3"):
        return layer.self_attn.sliding_window and layer.self_attn.sliding_window - 1
    return plm.config.sliding_window if getattr(layer, "attention_type", None) == "sliding_attention" else None


def rotations(plm, layer, states, text_of):
    """The argument with which a layer of transformers rotates text by its positions, and prompts not at all."""
    kind = (layer.attention_type,) if plm.config.model_type == "modernbert" else ()
    return {"position_embeddings": plm.rotary_emb(states, text_of.clamp(min=0)[None], *kind)}


def t5_bias(plm):
    """transformers' own bias of the text, and none where a prompt is the query or the key."""
    return torch.nn.functional.pad(plm.block[0].layer[0].SelfAttention.compute_bias(Z, Z), (K, 0, K, 0))


def deberta_scores_content_only(layer, is_prompt):
    """Makes transformers' own attention add its terms of distance between words of the text alone."""
    attention = layer.attention.self
    of_text = type(attention).disentangled_attention_bias

    def bias(query, key, relative_pos, rel_embeddings, scale_factor):
        words = ~is_prompt
        inside = of_text(attention, query[:, words], key[:, words], relative_pos, rel_embeddings, scale_factor)
        return torch.nn.functional.pad(inside, (K, 0, K, 0))

    attention.disentangled_attention_bias = bias


def reference(encoder, input_ids, lengths, prompts):
    plm, family = encoder.encoder, encoder.encoder.config.model_type
    text = torch.arange(Z) < lengths.unsqueeze(1)
    states = build_adapter(plm).embed(input_ids)
    # What a row of the concatenation sees: every prompt, and of the text what its family lets it see
    text_of = torch.cat([torch.full((K,), -1), torch.arange(Z)])
    for layer, prompt in zip(blocks(plm), prompts, strict=True):
        seen = torch.cat([torch.ones(B, K, dtype=torch.bool), text], dim=1)[:, None, None].expand(-1, 1, K + Z, -1)
        distance = text_of[:, None] - text_of
        is_prompt = text_of == -1
        if family in CAUSAL:
            seen = seen & ((distance >= 0) | is_prompt)
        if window := window_of(plm, layer):
            seen = seen & ((distance.abs() <= window) | is_prompt)
        mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        more = {}
        if family in ("modernbert", *ROTARY):
            more = rotations(plm, layer, states, text_of)
        if family == "deberta-v2":
            deberta_scores_content_only(layer, is_prompt)
            more = {"relative_pos": build_relative_position(states, states, 4, 128)}
            more["rel_embeddings"] = plm.encoder.get_rel_embedding()
            mask = seen
        if family == "t5":
            more = {"position_bias": t5_bias(plm)}
        states = run_with_prompts(layer, states, prompt, mask, **more)
    return build_adapter(plm).final_norm(states)


def text_states(states, lengths):
    return states[torch.arange(Z) < lengths.unsqueeze(1)]


def test_it_equals_concatenate_run_drop(encoder, text, prompts):
    fast = text_states(encoder(*text, prompts), text[1])
    plain = text_states(reference(encoder, *text, prompts), text[1])
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "yarn", "llama3"])
def test_scaled_rotary_positions_scale_prompts_as_position_0(tiny_plms, text, kind):
    config = tf.AutoConfig.from_pretrained(tiny_plms["llama"])
    more = {"low_freq_factor": 1.0, "high_freq_factor": 4.0} if kind == "llama3" else {}
    original = {} if kind == "linear" else {"original_max_position_embeddings": 8}
    config.rope_parameters = {"rope_type": kind, "rope_theta": 10.0, "factor": 4.0, **original, **more}
    torch.manual_seed(3)
    encoder = PromptedEncoder(tf.LlamaModel(config).eval()).eval()
    assert (encoder.encoder.rotary_emb.attention_scaling > 1) == (kind == "yarn")
    prompts = torch.randn(encoder.num_layers, B, K, encoder.hidden_size)
    fast = text_states(encoder(*text, prompts), text[1])
    plain = text_states(reference(encoder, *text, prompts), text[1])
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-5)


def test_so_do_its_gradients(encoder, text, prompts):
    weight = torch.randn(int(text[1].sum()), encoder.hidden_size)
    parameters = [prompts, *encoder.parameters()]

    def gradients(states):
        loss = (text_states(states, text[1]) * weight).sum()
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    fast, plain = gradients(encoder(*text, prompts)), gradients(reference(encoder, *text, prompts))
    assert [g is None for g in fast] == [g is None for g in plain]
    for ours, theirs in zip(fast, plain, strict=True):
        if ours is None:
            continue
        scale = max(theirs.abs().max().item(), 1.0)
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-5)
    assert fast[0].abs().sum() > 0


def test_masked_prompts_give_back_the_plain_plm(encoder, text, prompts):
    masked = encoder(*text, prompts, prompt_mask=torch.zeros(B, K, dtype=torch.bool))
    plain = encoder.encoder(
        input_ids=text[0], attention_mask=(torch.arange(Z) < text[1].unsqueeze(1)).long()
    ).last_hidden_state
    torch.testing.assert_close(text_states(masked, text[1]), text_states(plain, text[1]), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        text_states(encoder(*text), text[1]), text_states(plain, text[1]), rtol=0, atol=1e-5
    )


def test_asked_positions_have_the_states_of_the_whole_text(encoder, text, prompts):
    positions = torch.tensor([[0, 10], [3, 0], [6, 2], [1, 1]])
    some = encoder(*text, prompts, positions=positions)
    every = encoder(*text, prompts)
    expected = every.gather(1, positions.unsqueeze(2).expand(-1, -1, encoder.hidden_size))
    torch.testing.assert_close(some, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_one_asked_position_equals_attention_by_keys_and_values(plm_folder, text, monkeypatch, dropout):
    encoder = PromptedEncoder(load_plm(plm_folder, num_layers=None, dropout=dropout).encoder)
    for parameter in encoder.parameters():  # biases too: they are 0 in a new model
        torch.nn.init.normal_(parameter, std=0.1)
    encoder.train(dropout > 0)
    prompts = torch.randn(encoder.num_layers, B, K, encoder.hidden_size, requires_grad=True)
    positions = (text[1] - 1).unsqueeze(1)

    def states_and_gradients():
        torch.manual_seed(5)  # drops the same weights
        states = encoder(*text, prompts, positions=positions)
        loss = (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum()
        return [states, *torch.autograd.grad(loss, [prompts, *encoder.parameters()], materialize_grads=True)]

    short = states_and_gradients()
    family, last = encoder.encoder.config.model_type, encoder.layer(encoder.num_layers - 1)
    # The others normalize states first, rotate keys, or score positions
    assert (last.linear_projections() is None) == (family in ("deberta-v2", "modernbert", "t5", *CAUSAL))
    monkeypatch.setattr(PromptedLayer, "linear_projections", lambda _: None)
    for ours, plain in zip(short, states_and_gradients(), strict=True):
        scale = max(plain.abs().max().item(), 1.0)
        torch.testing.assert_close(ours / scale, plain / scale, rtol=0, atol=1e-5)
    assert short[1].abs().sum() > 0


def test_longer_padding_changes_nothing(encoder, text, prompts):
    input_ids, lengths = text
    pad = encoder.encoder.config.pad_token_id or 0
    longer = torch.cat([input_ids.masked_fill(input_ids == 1, pad), torch.full((B, 5), pad)], dim=1)
    shorter = encoder(input_ids.masked_fill(input_ids == 1, pad), lengths, prompts)
    torch.testing.assert_close(
        text_states(encoder(longer, lengths, prompts)[:, :Z], lengths), text_states(shorter, lengths),
        rtol=0, atol=1e-5,
    )  # fmt: skip


def test_permuting_rows_permutes_outputs(encoder, text, prompts):
    order = torch.tensor([2, 0, 3, 1])
    straight = encoder(*text, prompts)[order]
    permuted = encoder(text[0][order], text[1][order], prompts[:, order])
    torch.testing.assert_close(permuted, straight, rtol=0, atol=1e-5)


def test_a_row_sees_its_own_prompts_only(encoder, text, prompts):
    first = encoder(*text, prompts)[0, :5].square().sum(0)[0]  # not the sum, which LayerNorm holds fixed
    (gradient,) = torch.autograd.grad(first, prompts)
    assert (gradient[:, 0].abs().sum(dim=(1, 2)) > 0).all()  # every layer's
    assert gradient[:, 1:].abs().sum() == 0


def test_fewer_layers_are_the_first_ones(plm_folder, text):
    whole = PromptedEncoder(load_plm(plm_folder, num_layers=None, dropout=0.0).encoder)
    cut = PromptedEncoder(load_plm(plm_folder, num_layers=1, dropout=0.0).encoder)
    assert cut.num_layers == 1
    architecture, seen = whole.architecture, torch.arange(Z) < text[1].unsqueeze(1)
    outputs = whole.layer(0)(LayerInputs(architecture.embed(text[0]), seen))
    states = architecture.final_norm(outputs)
    torch.testing.assert_close(text_states(cut(*text), text[1]), text_states(states, text[1]))


def test_gradient_checkpointing_keeps_the_prompts(encoder, text, prompts):
    def gradients(checkpointing):
        encoder.gradient_checkpointing = checkpointing
        loss = text_states(encoder(*text, prompts), text[1]).square()[:, 0].sum()
        return torch.autograd.grad(loss, [prompts, encoder.encoder.get_input_embeddings().weight])

    encoder.train()
    for ours, plain in zip(gradients(True), gradients(False), strict=True):
        assert plain.abs().sum() > 0
        torch.testing.assert_close(ours, plain)


def test_checkpointing_finds_the_tensors_of_a_layers_inputs():
    # It restores the random numbers of their device, so that dropout is the same in the second forward pass
    states, seen = torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool)
    assert any(leaf is states for leaf in torch.utils._pytree.tree_leaves(LayerInputs(states, seen)))


@pytest.mark.parametrize("hidden_prompts", [True, False])
def test_rows_much_shorter_than_others_train_without_prompts(plm_folder, text, hidden_prompts):
    # Padding that is farther from the text than a window of attention must attend to something
    encoder = PromptedEncoder(load_plm(plm_folder, num_layers=None, dropout=0.3).encoder).train()
    prompts, mask = None, None
    if hidden_prompts:
        prompts = torch.randn(encoder.num_layers, B, K, encoder.hidden_size)
        mask = torch.zeros(B, K, dtype=torch.bool)
    states = text_states(encoder(*text, prompts, prompt_mask=mask), text[1])
    states.square()[:, 0].sum().backward()
    assert states.isfinite().all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


def test_a_row_without_text_changes_no_other_row(encoder, text, prompts):
    some = encoder(*text, prompts)
    lengths = text[1].clone()
    lengths[1] = 0
    others = torch.tensor([0, 2, 3])
    torch.testing.assert_close(
        text_states(encoder(text[0], lengths, prompts), lengths),
        some[others][torch.arange(Z) < lengths[others].unsqueeze(1)],
        rtol=0, atol=1e-5,
    )  # fmt: skip

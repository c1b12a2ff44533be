"""The paper's ablations and the other forms of prompts, pooling and training."""

import pytest
import torch
from recbole.utils import get_trainer
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.clickprompt.builders import build_components
from recbole_clickprompt.methods.clickprompt.input_prompts import InputPromptedEncoder
from recbole_clickprompt.methods.clickprompt.model import ClickPrompt
from recbole_clickprompt.methods.clickprompt.pretraining import pretraining_rows
from recbole_clickprompt.methods.clickprompt.prompts import SharedPromptGenerator
from recbole_clickprompt.plm.architectures import build_adapter
from recbole_clickprompt.plm.encoder import PromptedEncoder, SharedPromptedEncoder
from recbole_clickprompt.plm.loading import load_plm
from recbole_clickprompt.plm.pooling import build_pooling
from tests.conftest import CAUSAL, ROTARY, SHORT
from tests.plm.test_encoder import (
    B,
    K,
    Z,
    blocks,
    deberta_scores_content_only,
    rotations,
    t5_bias,
    text_states,
    window_of,
)


@pytest.fixture
def plm(plm_folder):
    return load_plm(plm_folder, num_layers=None, dropout=0.0).encoder


@pytest.fixture
def text():
    torch.manual_seed(1)
    lengths = torch.tensor([11, 4, 7, 2])
    return torch.randint(5, 100, (B, Z)).masked_fill(torch.arange(Z) >= lengths.unsqueeze(1), 1), lengths


def input_reference(plm, input_ids, lengths, prompt):
    """transformers' own layers over prompts and text in one sequence, prompts kept to the end."""
    family, architecture = plm.config.model_type, build_adapter(plm)
    states = torch.cat([prompt, architecture.embed(input_ids)], dim=1)
    text_of = torch.cat([torch.full((K,), -1), torch.arange(Z)])
    is_prompt, distance = text_of == -1, text_of[:, None] - text_of
    seen = torch.cat([torch.ones(B, K, dtype=torch.bool), torch.arange(Z) < lengths.unsqueeze(1)], dim=1)
    for layer in blocks(plm):
        shown = seen[:, None, None].expand(-1, 1, K + Z, -1)
        if family in CAUSAL:
            shown = shown & torch.ones(K + Z, K + Z, dtype=torch.bool).tril()
        if window := window_of(plm, layer):
            near = distance.abs() <= window
            shown = shown & (near | is_prompt | is_prompt[:, None])
        mask = torch.zeros(shown.shape).masked_fill(~shown, torch.finfo(torch.float32).min)
        more = {}
        if family in ("modernbert", *ROTARY):
            more = rotations(plm, layer, states, text_of)
        if family == "deberta-v2":
            deberta_scores_content_only(layer, is_prompt)
            more = {"relative_pos": build_relative_position(states[:, K:], states[:, K:], 4, 128)}
            more["rel_embeddings"], mask = plm.encoder.get_rel_embedding(), shown
        if family == "t5":
            more = {"position_bias": t5_bias(plm)}
        out = layer(states, attention_mask=mask, **more)
        states = out[0] if isinstance(out, tuple) else out
    return architecture.final_norm(states)[:, K:]


def test_input_prompts_are_ordinary_states_of_one_sequence(plm, text):
    encoder = InputPromptedEncoder(plm)
    assert encoder.prompt_layers == 1
    prompts = torch.randn(1, B, K, encoder.hidden_size, requires_grad=True)
    ours = encoder(*text, prompts)
    expected = input_reference(plm, *text, prompts[0])
    torch.testing.assert_close(text_states(ours, text[1]), text_states(expected, text[1]), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(text_states(ours, text[1]).square()[:, 0].sum(), prompts)
    assert gradient.abs().sum() > 0
    first = torch.zeros(B, 1, dtype=torch.long)
    torch.testing.assert_close(encoder(*text, prompts, positions=first)[:, 0], ours[:, 0])


def test_hidden_input_prompts_give_back_the_plain_plm(plm, text):
    encoder = InputPromptedEncoder(plm)
    prompts = torch.randn(1, B, K, encoder.hidden_size)
    hidden = encoder(*text, prompts, prompt_mask=torch.zeros(B, K, dtype=torch.bool))
    plain = PromptedEncoder(plm)(*text)
    torch.testing.assert_close(text_states(hidden, text[1]), text_states(plain, text[1]), rtol=0, atol=1e-5)


def test_shared_prompts_are_keys_and_values_as_they_come(plm, text):
    layerwise, shared = PromptedEncoder(plm), SharedPromptedEncoder(plm)
    prompts = torch.randn(layerwise.num_layers, B, K, layerwise.hidden_size)
    architecture = build_adapter(plm)
    ready = torch.stack(
        [torch.cat(architecture.layer(i).keys_values(prompt, None), dim=2) for i, prompt in enumerate(prompts)]
    )
    torch.testing.assert_close(shared(*text, ready), layerwise(*text, prompts), rtol=0, atol=1e-5)


def test_the_shared_generator_is_one_two_layer_mlp():
    generator = SharedPromptGenerator(input_size=5, num_layers=3, num_prompts=2, hidden_size=4, key_value_size=4)
    assert sum(p.numel() for p in generator.parameters()) == (5 * 4 + 4) + (4 * 48 + 48)
    q = torch.randn(7, 5)
    out = generator(q)
    assert out.shape == (3, 7, 2, 8)
    first, _, second = generator.projection
    flat = second(torch.tanh(first(q)))
    assert torch.equal(out[1, 4, 0], flat[4, 16:24])


@pytest.mark.parametrize(("name", "layers"), [("avg", [-1]), ("avg_first_last", [0, -1]), ("avg_top2", [-2, -1])])
def test_average_poolings_are_means_over_real_tokens(tiny_bert, text, name, layers):
    plm = load_plm(tiny_bert, num_layers=None, dropout=0.0).encoder
    seen = torch.arange(Z) < text[1].unsqueeze(1)
    hidden = plm(input_ids=text[0], attention_mask=seen.long(), output_hidden_states=True).hidden_states
    states = sum(hidden[layer] for layer in layers) / len(layers)
    expected = torch.stack([row[:length].mean(0) for row, length in zip(states, text[1].tolist(), strict=True)])
    pooled = build_pooling(name)(PromptedEncoder(plm), *text, None)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-5)


def test_cls_pooling_reads_the_first_token_or_the_last_of_a_causal_plm(plm, text):
    encoder = PromptedEncoder(plm)
    every = encoder(*text)
    last = text[1] - 1 if plm.config.model_type in CAUSAL else torch.zeros(B, dtype=torch.long)
    pooled = build_pooling("cls")(encoder, *text, None)
    torch.testing.assert_close(pooled, every[torch.arange(B), last], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt_strategy": "input"},
        {"prompt_projection": "shared_kv"},
        {"plm_pooling": "avg"},
        {"plm_pooling": "avg_first_last"},
        {"plm_pooling": "avg_top2"},
        {"plm_gradient_checkpointing": True},
        {"finetune_prompts": False},
        {"plm_lora": {"r": 2, "alpha": 4}},
        {"pretrain_data": "train_valid"},
    ],
    ids=lambda s: "-".join(map(str, next(iter(s.items())))),
)
def test_every_variant_runs_both_stages(make_config, make_data, settings):
    config = make_config(epochs=1, **SHORT, **settings)
    data = make_data(config)
    model = ClickPrompt(config, data[0]._dataset)
    before = {name: p.clone() for name, p in model.named_parameters()}
    trainer = get_trainer(config["MODEL_TYPE"], "ClickPrompt")(config, model)
    _, result = trainer.fit(data[0], data[1], verbose=False)
    assert 0 < result["auc"] < 1
    learnt = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    prompt = {"prompt"} if config["finetune_prompts"] else set()
    assert learnt == {"backbone", "plm", "head", "fusion_weight"} | prompt


def test_without_prompts_the_towers_do_not_touch(make_config, make_data):
    config = make_config(finetune_prompts=False)
    dataset = make_data(config)[0]._dataset
    model = ClickPrompt(config, dataset)
    assert model.pretrained_components == ("backbone", "plm")
    plm = model.logits(dataset[torch.arange(8)])[1]
    assert all(
        g is None for g in torch.autograd.grad(plm.sum(), [*model.backbone.parameters()], allow_unused=True)
    )


def test_a_fixed_fusion_weight_stays(make_config, make_data):
    config = make_config(train_stage="finetune", fusion_weight=0.8, fusion_learnable=False, epochs=1)
    data = make_data(config)
    model = ClickPrompt(config, data[0]._dataset)
    get_trainer(config["MODEL_TYPE"], "ClickPrompt")(config, model).fit(data[0], data[1], verbose=False)
    assert model.fusion_weight.item() == pytest.approx(0.8)


def test_lora_trains_its_own_weights_and_no_others_of_the_plm(make_config, make_data, plm_folder):
    config = make_config(plm=str(plm_folder), train_stage="finetune", plm_lora={"r": 2}, epochs=1, **SHORT)
    data = make_data(config)
    model = ClickPrompt(config, data[0]._dataset)
    before = {name: p.clone() for name, p in model.plm.named_parameters()}
    get_trainer(config["MODEL_TYPE"], "ClickPrompt")(config, model).fit(data[0], data[1], verbose=False)
    changed = {name for name, p in model.plm.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)


def test_fresh_lora_changes_nothing(make_config, make_data, plm_folder, text):
    config = make_config(plm=str(plm_folder), plm_lora={"r": 2}, plm_dropout=0.0)
    parts = build_components(config, make_data(config)[0]._dataset)
    plain = PromptedEncoder(load_plm(plm_folder, num_layers=None, dropout=0.0).encoder)
    torch.testing.assert_close(
        text_states(parts.plm(*text), text[1]), text_states(plain(*text), text[1]), rtol=0, atol=1e-5
    )


def test_pretraining_can_also_read_validation_text(make_config, make_data):
    config = make_config(pretrain_data="train_valid")
    train, valid, _ = make_data(config)
    rows = pretraining_rows(config, train, valid)
    assert len(rows) == len(train._dataset) + len(valid._dataset)
    assert len(train._dataset) == 1053  # and the training rows stay what they were
    with pytest.raises(SettingError, match="train_valid needs validation rows"):
        pretraining_rows(config, train, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_strategy": "input", "prompt_projection": "shared_kv"}, "use per_prompt"),
        ({"plm_lora": {"target_modules": ["nothing_there"]}}, "plm_lora: .*nothing_there"),
        ({"plm_lora": {"target_modules": "("}}, "plm_lora: target_modules .* is not a regular expression"),
    ],
)
def test_variants_that_cannot_be_are_refused(make_config, make_data, tiny_plms, settings, message):
    if "plm" in settings:
        settings = {**settings, "plm": str(tiny_plms[settings["plm"]])}
    config = make_config(**settings)
    with pytest.raises(SettingError, match=message):
        build_components(config, make_data(config)[0]._dataset)

"""Attention over the prompts: the weights are the layer's own, and the table says where each field looks."""

import numpy as np
import pytest
import torch
from recbole.utils import get_model

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.tables import prompt_columns
from recbole_clickprompt.methods.clickprompt import attention
from recbole_clickprompt.methods.clickprompt.attention import attention_table, last_attention
from recbole_clickprompt.methods.clickprompt.field_masks import masked_fields
from recbole_clickprompt.methods.clickprompt.input_prompts import InputPromptedEncoder
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer

B, Z, K = 3, 9, 4


@pytest.fixture
def build(make_config, make_data):
    """A model with random weights, and the test part of its data set."""

    def build(model="ClickPrompt", **settings):
        config = make_config(model, **settings)
        train, _, test = make_data(config)
        torch.manual_seed(3)
        return get_model(config["model"])(config, train._dataset), test._dataset

    return build


@pytest.fixture
def text():
    torch.manual_seed(1)
    lengths = torch.tensor([9, 4, 6])
    input_ids = torch.randint(5, 100, (B, Z))
    return input_ids.masked_fill(torch.arange(Z) >= lengths.unsqueeze(1), 1), lengths


@pytest.mark.parametrize("strategy", [PromptedEncoder, InputPromptedEncoder])
def test_weights_are_those_that_the_last_layer_used(plm_folder, text, strategy):
    encoder = strategy(load_plm(plm_folder, num_layers=None, dropout=0.0).encoder).eval()
    prompts = torch.randn(encoder.prompt_layers, B, K, encoder.hidden_size)
    with torch.no_grad(), attention._LastCall() as last:
        encoder.states(*text, prompts)
    weights = last.weights()
    _, _, value = last.arguments
    torch.testing.assert_close(weights @ value, last.output, atol=1e-5, rtol=1e-5)
    weights = last_attention(encoder, *text, prompts)
    heads = encoder.encoder.config.num_attention_heads
    assert weights.shape == (B, heads, Z, K + Z)
    torch.testing.assert_close(weights.sum(3), torch.ones(B, heads, Z))
    assert weights[1, :, 0, K + 4 :].eq(0).all()  # padding of the second row
    assert weights[:, :, 1, :K].gt(0).all()


def test_a_prompt_with_the_queries_direction_draws_the_attention(tiny_bert, text):
    encoder = PromptedEncoder(load_plm(tiny_bert, num_layers=1, dropout=0.0).encoder).eval()
    layer = encoder.encoder.encoder.layer[0].attention.self
    with torch.no_grad():
        layer.query.weight.zero_()
        layer.query.bias.fill_(1.0)
        layer.key.weight.copy_(torch.eye(encoder.hidden_size))
        layer.key.bias.zero_()
    prompts = torch.zeros(1, B, K, encoder.hidden_size)
    prompts[:, :, 2] = 5.0
    weights = last_attention(encoder, *text, prompts)
    # heads of width 8: each component 1 * 5, so the score is 40 / sqrt(8), against 0 of the other prompts
    ratio = weights[..., 2] / weights[..., 0]
    torch.testing.assert_close(ratio, torch.full_like(ratio, np.exp(40 / np.sqrt(8))), rtol=1e-3, atol=0)


def test_a_line_for_each_field_that_a_row_has(build):
    model, data = build()
    table = attention_table(model, data, [0, 5])
    names = list(data.config["text_fields"].values())
    for row, lines in table.groupby("row"):
        assert [name for name in names if name in set(lines["field"])] == list(lines["field"])
        assert lines["user"].unique() == [data.id2token("user_id", int(data.inter_feat["user_id"][row]))]
        assert lines["item"].unique() == [data.id2token("item_id", int(data.inter_feat["item_id"][row]))]
    assert prompt_columns(table) == ["prompt_1", "prompt_2"]
    np.testing.assert_allclose(table[["prompt_1", "prompt_2"]].sum(axis=1), 1, atol=1e-6)
    assert table["on_prompts"].between(0, 1, inclusive="neither").all()
    assert table["tokens"].ge(1).all()
    assert table["prompt_1"].nunique() == len(table)  # each field and row looks its own way


def test_the_average_is_over_the_masked_tokens_and_the_heads(build, monkeypatch):
    model, data = build()
    seen = {}

    def even(plm, input_ids, lengths, prompts):
        seen["input_ids"] = input_ids
        weights = torch.full((len(input_ids), 2, input_ids.shape[1], 2 + input_ids.shape[1]), 0.01)
        masked = (input_ids == data.tokenizer(data.config["plm"]).mask_token_id).unsqueeze(1)
        weights[..., 0] = torch.where(masked, torch.tensor([0.2, 0.4]).view(1, 2, 1), 0.9)
        weights[..., 1] = torch.where(masked, 0.1, 0.9)
        return weights

    monkeypatch.setattr(attention, "last_attention", even)
    table = attention_table(model, data, [0])
    # heads 0.2 and 0.4 on the first prompt, 0.1 on the second: 0.3 and 0.1 of which 3/4 and 1/4
    np.testing.assert_allclose(table["prompt_1"], 3 / 4, atol=1e-6)
    np.testing.assert_allclose(table["on_prompts"], 0.4, atol=1e-6)
    plain, _ = model.text(data[torch.tensor([0])])
    changed = (seen["input_ids"] != plain).sum(1)
    assert changed.tolist() == table["tokens"].tolist()


@pytest.mark.parametrize("family", ["gpt2", "roberta", "bart"])
def test_other_families_and_input_prompts_have_a_table_too(build, tiny_plms, family):
    settings = {"prompt_strategy": "input"} if family == "roberta" else {}
    model, data = build(plm=str(tiny_plms[family]), **settings)
    table = attention_table(model, data, [1])
    np.testing.assert_allclose(table[prompt_columns(table)].sum(axis=1), 1, atol=1e-6)
    assert len(table) > 3


def test_a_model_that_reads_no_prompts_is_refused(build):
    model, data = build("ClickPromptNoPLM")
    with pytest.raises(SettingError, match="attention needs a run whose model reads prompts; this one has no PLM"):
        attention_table(model, data, [0])
    model, data = build(finetune_prompts=False)
    with pytest.raises(SettingError, match="finetuned without them: choose a run of ClickPrompt with"):
        attention_table(model, data, [0])


def test_a_row_that_is_not_there_is_named(build):
    model, data = build()
    with pytest.raises(SettingError, match=f"there is no row {len(data)}: rows count from 0 to {len(data) - 1}"):
        attention_table(model, data, [0, len(data)])


def test_each_version_masks_the_value_of_one_field_and_nothing_else(build, tiny_bert):
    model, data = build()
    table, tokenizer = data.token_table(data.config["plm"]), load_tokenizer(tiny_bert)
    row = data[torch.tensor([3])]
    masked = masked_fields(table, model.plm, row, mask_id=tokenizer.mask_token_id)
    (plain,), _ = table(row)
    sentence = table.textualizer.sentence({key: int(row[key]) for key in table.keys})
    values = dict(part.split(" is ", 1) for part in sentence.removesuffix(".").split(". "))
    assert masked.names == list(values)
    for name, text, asked in zip(masked.names, masked.text, masked.targets, strict=True):
        assert text[asked].eq(tokenizer.mask_token_id).all()
        assert torch.equal(text[~asked], plain[~asked])
        assert plain[asked].tolist() == tokenizer(values[name], add_special_tokens=False)["input_ids"]


def test_joint_layers_read_what_is_masked_alone_and_the_rest_as_it_was(build):
    model, data = build(plm_interaction_layers=1, plm_learning_rate=0.0)
    table, mask_id = data.token_table(data.config["plm"]), data.tokenizer(data.config["plm"]).mask_token_id
    row = data[torch.tensor([3])]
    masked = masked_fields(table, model.eval().plm, row, mask_id=mask_id)
    states, (length,) = model.text(row)
    assert masked.text.shape == (len(masked.names), int(length), model.plm.hidden_size)
    number = {key: [f.name for f in table.textualizer.fields if f.key == key] for key in table.keys}
    same = torch.isclose(masked.text, states.float(), atol=0.05, rtol=0.05).all(2)  # kept in half precision
    begin = 0
    for index, key in enumerate(table.keys):
        _, _, offsets = table.segment(index)
        id_ = int(row[key])
        special = (len(table.prefix) if index == 0 else 0) + (len(table.suffix) if key == table.keys[-1] else 0)
        end = begin + int(offsets[id_ + 1] - offsets[id_]) + special
        for line, name in enumerate(masked.names):
            # a text alone knows nothing of masks in another one
            assert same[line, begin:end].all() == (name not in number[key])
        begin = end
    assert begin == int(length)
    table = attention_table(model, data, [3])
    np.testing.assert_allclose(table[prompt_columns(table)].sum(axis=1), 1, atol=1e-6)
    assert list(table["field"]) == masked.names


def test_a_plm_that_reads_forward_foretells_what_others_recover(build):
    model, data = build()
    table, row = data.token_table(data.config["plm"]), data[torch.tensor([3])]
    masked = masked_fields(table, model.plm, row, mask_id=4)
    foretold = masked_fields(table, model.plm, row, mask_id=None)
    assert torch.equal(foretold.text, table(row)[0].expand(len(foretold.names), -1))
    assert torch.equal(foretold.targets[:, :-1], masked.targets[:, 1:])

"""The parts of a layer with fixed weights, against reference implementations."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from recbole_clickprompt.methods.clickprompt.inference import post_norm_block
from recbole_clickprompt.methods.clickprompt.inference.folded_prompts import FoldedPrompts
from recbole_clickprompt.methods.clickprompt.inference.post_norm_block import FixedLinear, PostNormBlock
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator
from recbole_clickprompt.plm.architectures import build_adapter

_ROWS, _PROMPTS, _WIDTH, _HEADS = 7, 3, 12, 2
_PRECISIONS = [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)]


@pytest.fixture(autouse=True)
def blocks_of_two_rows(monkeypatch):
    monkeypatch.setattr(post_norm_block, "_CACHED_ROWS", 2)


@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_folded_prompts_are_attended_to_as_keys_and_values_of_prompts(dtype, tolerance):
    torch.manual_seed(0)
    prompt = PromptGenerator(input_size=5, num_layers=1, num_prompts=_PROMPTS, hidden_size=_WIDTH)
    key, value = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, _WIDTH)
    q, query = torch.randn(_ROWS, 5), torch.randn(_ROWS, _WIDTH)

    with torch.no_grad():
        both = torch.cat([key.weight, value.weight]).t()
        bias = prompt.bias @ both + torch.cat([key.bias, value.bias])
        folded = FoldedPrompts(prompt, weight=prompt.weight @ both, bias=bias, heads=_HEADS, dtype=dtype)
        made = folded.keys_values(q)
        scores = folded.scores(query.to(dtype), made) + folded.bias_scores(query.to(dtype))
        read = folded.read(scores.float().softmax(2), made)

        prompts = prompt(q)[0]  # (B, K, W)
        keys, values, asked = (
            part.unflatten(-1, (_HEADS, -1)) for part in (key(prompts), value(prompts), query.unsqueeze(1))
        )
        expected = torch.einsum("bqhd,bkhd->bhk", asked, keys)
        attended = torch.einsum("bhk,bkhd->bhd", expected.softmax(2), values).flatten(1)
    assert scores.dtype == read.dtype == dtype
    torch.testing.assert_close(scores.float(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(read.float(), attended, rtol=0, atol=tolerance)


@pytest.mark.parametrize("epilogue", ["tanh", "gelu", "add", None])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_an_epilogue_is_applied_to_the_product(dtype, tolerance, bias, epilogue):
    torch.manual_seed(0)
    linear = nn.Linear(6, 8, bias=bias)
    states, added = torch.randn(5, 6), torch.randn(5, 8) if epilogue == "add" else None
    expected = linear(states).detach()
    if epilogue:
        expected = expected + added if epilogue == "add" else getattr(nn.functional, epilogue)(expected)
    layer = FixedLinear(linear, dtype, epilogue)
    nn.init.zeros_(linear.weight)  # it has its own
    found = layer(states, None if added is None else added.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_a_block_is_what_comes_after_attention(dtype, tolerance, family, activation, lora):
    torch.manual_seed(0)
    if family == "bert":
        sizes = {
            "hidden_size": _WIDTH,
            "intermediate_size": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": _HEADS,
        }
        model, names = BertModel(BertConfig(**sizes, hidden_act=activation)), ["dense"]
    else:
        sizes = {"dim": _WIDTH, "hidden_dim": 20, "n_layers": 2, "n_heads": _HEADS}
        model, names = (
            DistilBertModel(DistilBertConfig(**sizes, activation=activation)),
            ["out_lin", "lin1", "lin2"],
        )
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules=names, init_lora_weights=False)).base_model.model
    layer = build_adapter(model.eval()).layer(1)
    attended, states = torch.randn(2, _ROWS, _WIDTH)
    with torch.no_grad():
        expected = layer.combine(attended.unsqueeze(0), states.unsqueeze(0))[0]
        block = PostNormBlock(layer.post_norm(), width=_WIDTH, dtype=dtype)
        found = block(attended.to(dtype), states.to(dtype))
    assert block.expansion.epilogue == ("gelu" if activation == "gelu" else None)  # else a module of its own
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)

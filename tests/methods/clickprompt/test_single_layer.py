"""What a layer with fixed weights is made of, against the plain forms of it."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from recbole_clickprompt.methods.clickprompt.inference import linear as inference_linear
from recbole_clickprompt.methods.clickprompt.inference.block import InferenceBlock
from recbole_clickprompt.methods.clickprompt.inference.folded_prompts import FoldedPrompts
from recbole_clickprompt.methods.clickprompt.inference.linear import InferenceLinear
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator
from recbole_clickprompt.plm.architectures import LAYOUTS

_ROWS, _PROMPTS, _WIDTH, _HEADS = 7, 3, 12, 2
_PRECISIONS = [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)]


@pytest.fixture(params=[True, False])
def fused(request, monkeypatch):
    """With oneDNN's products that do what follows them, where there are any, and without."""
    monkeypatch.setattr(inference_linear, "_CACHED_ROWS", 2)
    if not request.param:
        monkeypatch.setattr(inference_linear, "_fuses", lambda dtype: False)
    return request.param


@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_folded_prompts_are_attended_to_as_keys_and_values_of_prompts(dtype, tolerance, fused):
    torch.manual_seed(0)
    prompt = PromptGenerator(input_size=5, num_layers=1, num_prompts=_PROMPTS, hidden_size=_WIDTH)
    key, value = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, _WIDTH)
    q, query = torch.randn(_ROWS, 5), torch.randn(_ROWS, _WIDTH)

    with torch.no_grad():
        both = torch.cat([key.weight, value.weight]).t()
        bias = prompt.bias @ both + torch.cat([key.bias, value.bias])
        folded = FoldedPrompts(prompt, weight=prompt.weight @ both, bias=bias, heads=_HEADS, dtype=dtype)
        made = folded.keys_values(q)
        scores = folded.scores(query.to(dtype), made) + folded.scores_of_bias(query.to(dtype))
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


@pytest.mark.parametrize("follows", ["tanh", "gelu", "add", None])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_what_follows_a_product_is_done_to_it(dtype, tolerance, bias, follows, fused):
    torch.manual_seed(0)
    linear = nn.Linear(6, 8, bias=bias)
    states, added = torch.randn(5, 6), torch.randn(5, 8) if follows == "add" else None
    expected = linear(states).detach()
    if follows:
        expected = expected + added if follows == "add" else getattr(nn.functional, follows)(expected)
    layer = InferenceLinear(linear, dtype, follows)
    nn.init.zeros_(linear.weight)  # it has its own
    found = layer(states, None if added is None else added.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


def test_a_product_is_fused_where_the_processor_has_bf16_and_in_that_alone():
    linear = nn.Linear(6, 8)
    ours = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert InferenceLinear(linear, torch.bfloat16, "tanh").fused is ours
    assert not InferenceLinear(linear, torch.float32, "tanh").fused
    assert not InferenceLinear(linear, torch.bfloat16).fused  # torch's own product is as fast


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_a_block_is_what_follows_attention(dtype, tolerance, family, activation, lora, fused):
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
    layout = LAYOUTS[family](model.eval())
    attended, states = torch.randn(2, _ROWS, _WIDTH)
    with torch.no_grad():
        expected = layout.combine(1, attended.unsqueeze(0), states.unsqueeze(0))[0]
        block = InferenceBlock(layout.post_norm(1), width=_WIDTH, dtype=dtype)
        found = block(attended.to(dtype), states.to(dtype))
    done = activation == "gelu"  # by the product, and else behind it
    assert (block.activation is None) is done
    assert block.expansion.follows == ("gelu" if done else None)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)

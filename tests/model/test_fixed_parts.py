"""What a layer with fixed weights is made of, against the plain forms of it."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, DistilBertConfig
from transformers.models.bert.modeling_bert import BertIntermediate
from transformers.models.distilbert.modeling_distilbert import FFN

from recbole_clickprompt.model.plm import inference_linear
from recbole_clickprompt.model.plm.folded_prompts import FoldedPrompts
from recbole_clickprompt.model.plm.inference_linear import InferenceLinear, cast_linears
from recbole_clickprompt.model.prompt import PromptGenerator

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


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_cast_linears_compute_what_they_did(dtype, tolerance, bias):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8, bias=bias), nn.Sequential(nn.GELU(), nn.Linear(8, 4, bias=bias)))
    states = torch.randn(3, 2, 6)
    expected = module(states).detach()

    cast_linears(module, dtype)
    with torch.no_grad():
        found = module(states.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("function", ["tanh", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_what_follows_a_product_is_done_to_it(dtype, tolerance, bias, function, fused):
    torch.manual_seed(0)
    linear = nn.Linear(6, 8, bias=bias)
    states = torch.randn(3, 2, 6)
    expected = getattr(nn.functional, function)(linear(states)).detach()
    layer = InferenceLinear(linear, dtype, function)
    nn.init.zeros_(linear.weight)  # it has its own
    with torch.no_grad():
        found = layer(states)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


def test_a_product_is_fused_where_the_processor_has_bf16_and_in_that_alone():
    linear = nn.Linear(6, 8)
    ours = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert InferenceLinear(linear, torch.bfloat16, "tanh").fused is ours
    assert not InferenceLinear(linear, torch.float32, "tanh").fused
    assert not InferenceLinear(linear, torch.bfloat16).fused  # torch's own product is as fast


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_an_activation_is_done_once(family, activation, fused):
    """By the product where that can, or behind it."""
    torch.manual_seed(0)
    if family == "bert":
        module = BertIntermediate(BertConfig(hidden_size=6, intermediate_size=8, hidden_act=activation))
        linear, name = "dense", "intermediate_act_fn"
    else:
        module = FFN(DistilBertConfig(dim=6, hidden_dim=8, activation=activation, n_heads=1)).eval()
        linear, name = "lin1", "activation"
    states = torch.randn(3, 2, 6)
    expected = module(states).detach()
    cast_linears(module, torch.bfloat16)
    with torch.no_grad():
        found = module(states.bfloat16())
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=5e-2)
    done = activation == "gelu"
    assert isinstance(getattr(module, name), nn.Identity) is done
    assert getattr(module, linear).function == ("gelu" if done else None)

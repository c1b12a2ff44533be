"""What a layer with fixed weights is made of, against the plain forms of it."""

import pytest
import torch
from torch import nn

from recbole_clickprompt.model.plm.folded_prompts import FoldedPrompts
from recbole_clickprompt.model.plm.inference_linear import cast_linears
from recbole_clickprompt.model.prompt import PromptGenerator

_ROWS, _PROMPTS, _WIDTH, _HEADS = 7, 3, 12, 2
_PRECISIONS = [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)]


@pytest.mark.parametrize(("dtype", "tolerance"), _PRECISIONS)
def test_folded_prompts_are_attended_to_as_keys_and_values_of_prompts(dtype, tolerance, monkeypatch):
    monkeypatch.setattr("recbole_clickprompt.model.plm.folded_prompts._CACHED_ROWS", 2)
    torch.manual_seed(0)
    prompt = PromptGenerator(input_size=5, num_layers=1, num_prompts=_PROMPTS, hidden_size=_WIDTH)
    key, value = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, _WIDTH)
    q, query = torch.randn(_ROWS, 5), torch.randn(_ROWS, _WIDTH)

    with torch.no_grad():
        both = torch.cat([key.weight, value.weight]).t()
        bias = prompt.bias @ both + torch.cat([key.bias, value.bias])
        folded = FoldedPrompts(prompt, weight=prompt.weight @ both, bias=bias, heads=_HEADS, dtype=dtype)
        made = folded.keys_values(q)
        scores = folded.scores(query.to(dtype), made)
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

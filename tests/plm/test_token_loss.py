"""Cross entropy over a vocabulary equals torch's."""

import pytest
import torch
from torch.nn import functional as F

from recbole_clickprompt.plm import token_loss as module
from recbole_clickprompt.plm.token_loss import token_loss


@pytest.fixture(params=[1, 70, 1 << 20])
def _parts(request, monkeypatch):
    monkeypatch.setitem(module._LOGITS_PER_BLOCK, "cpu", request.param)


@pytest.mark.usefixtures("_parts")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_gradient_and_hits_equal_those_of_torch(dtype):
    torch.manual_seed(0)
    values = (4 * torch.randn(11, 20)).to(dtype)
    values[0, 3:5] = values[0].max() + 1  # two highest ones, of which the first is right, and the second is not
    values[1] = values[0]
    labels = torch.randint(0, 20, (11,))
    labels[:4] = torch.tensor([3, 4, values[2].argmax(), values[3].argmin()])
    outcomes = []
    for loss_of in (token_loss, lambda x, y: (F.cross_entropy(x.float(), y), x.argmax(1) == y)):
        logits = values.clone().requires_grad_()
        loss, right = loss_of(logits, labels)
        (3 * loss).backward()
        assert loss.dtype is torch.float32
        assert right[:4].tolist() == [True, False, True, False]
        outcomes.append((loss, right, logits.grad))
    (ours, hits, gradient), (theirs, expected, exact) = outcomes
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(hits, expected)
    # In bf16 ours is rounded once more, when it is multiplied with the loss's
    torch.testing.assert_close(
        gradient, exact, **({"rtol": 2**-7, "atol": 1e-6} if dtype is torch.bfloat16 else {})
    )


def test_without_a_gradient_none_is_made():
    with torch.no_grad():
        loss, _ = token_loss(torch.zeros(2, 8), torch.zeros(2, dtype=torch.long))
    assert loss.item() == pytest.approx(torch.tensor(8.0).log().item())
    assert not loss.requires_grad


def test_the_gradient_can_be_had_once():
    logits = torch.randn(2, 8, requires_grad=True)
    loss, _ = token_loss(logits, torch.zeros(2, dtype=torch.long))
    loss.backward(retain_graph=True)
    with pytest.raises(AssertionError, match="once"):
        loss.backward()

"""The contrastive loss of CTRL is exact in blocks, symmetric, and plain InfoNCE with one sub-space."""

import pytest
import torch
from torch.nn import functional as F

from recbole_clickprompt.methods.ctrl.contrast import contrast


@pytest.fixture
def sides():
    torch.manual_seed(3)
    return [torch.randn(17, 4, 5, requires_grad=True) for _ in range(2)]


def reference(tabular, textual, temperature, keys=None):
    """The loss as it is written, with all products at once."""
    products = torch.einsum("isw,jzw->isjz", tabular, textual)
    rows = torch.arange(len(tabular))
    losses = []
    for similarity in (products.max(3).values.sum(1), products.max(1).values.sum(2).T):
        logits = similarity / temperature
        if keys is not None:
            same = (keys.unsqueeze(1) == keys.unsqueeze(0)).any(2) & ~torch.eye(len(rows), dtype=torch.bool)
            logits = logits.masked_fill(same, float("-inf"))
        losses.append(F.cross_entropy(logits, rows))
    return sum(losses) / 2


@pytest.mark.parametrize("columns", [None, 1, 5, 17])
@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_gradients_in_blocks_are_those_of_the_formula(sides, columns, masked):
    keys = torch.stack([torch.arange(17) % 6, torch.arange(17) % 8], dim=1) if masked else None
    expected = reference(*sides, 0.7, keys)
    gradients = torch.autograd.grad(expected, sides)
    loss, _ = contrast(*sides, temperature=0.7, keys=keys, columns=columns)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(loss, sides), gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_with_one_subspace_it_is_infonce(sides):
    tabular, textual = (side.flatten(1) for side in sides)
    logits = tabular @ textual.T / 0.7
    rows = torch.arange(17)
    expected = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
    loss, correct = contrast(tabular.unsqueeze(1), textual.unsqueeze(1), temperature=0.7, columns=6)
    torch.testing.assert_close(loss, expected)
    assert torch.equal(correct[:17], logits.argmax(1) == rows)
    assert torch.equal(correct[17:], logits.argmax(0) == rows)


def test_it_is_symmetric(sides):
    loss, correct = contrast(*sides, temperature=0.7, columns=4)
    swapped, others = contrast(*reversed(sides), temperature=0.7, columns=4)
    torch.testing.assert_close(loss, swapped)
    assert torch.equal(correct, others.roll(17))


def test_rows_with_an_equal_id_are_no_negatives_if_they_are_masked(sides):
    keys = torch.arange(17).unsqueeze(1)
    plain = contrast(*sides, temperature=0.7).loss
    assert torch.equal(contrast(*sides, temperature=0.7, keys=keys).loss, plain)
    alone, _ = contrast(*sides, temperature=0.7, keys=torch.zeros_like(keys))
    assert alone.item() == pytest.approx(0, abs=1e-6)
    some = contrast(*sides, temperature=0.7, keys=keys // 2).loss
    assert alone < some < plain


def test_one_row_has_nothing_to_tell_apart():
    loss, correct = contrast(torch.ones(1, 2, 3), torch.ones(1, 2, 3), temperature=0.7)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert correct.tolist() == [True, True]

"""The contrastive loss of CTRL: which text belongs to which row of ids, and the other way around.

Letters: see ``plm/__init__.py``; C columns of a block, S sub-spaces, w width of a sub-space.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["Contrasted", "contrast"]

_PRODUCTS = 2**25  # elements of a block of products, (B, S, C, S): 128 MiB in float32
_EXCLUDED = -1e9  # similarity of pairs that are left out; exp of it is 0


class Contrasted(NamedTuple):
    """
    Attributes:
        loss: Mean of both directions, a scalar in nats.
        correct: Whether each row's own text is the most similar one, and each text's own row, ``(2 B,)``.
    """

    loss: Tensor
    correct: Tensor


def contrast(
    tabular: Tensor,
    textual: Tensor,
    *,
    temperature: float,
    keys: Tensor | None = None,
    columns: int | None = None,
) -> Contrasted:
    """Symmetric cross entropy over the rows of a batch, with max-sim over sub-spaces.

    A row of ids and a text are compared sub-space by sub-space. Each direction sums over the sub-spaces of what it
    starts from, so the loss does not change if the two sides are exchanged::

        sim(ids i -> text j) = sum over s of max over s' of tabular[i, s] . textual[j, s']
        sim(text j -> ids i) = sum over s' of max over s of tabular[i, s] . textual[j, s']
        loss = (mean_i CE(sim(ids i -> all texts) / t, i) + mean_j CE(sim(text j -> all ids) / t, j)) / 2

    Texts are processed in blocks of columns, which are computed again in the backward pass: neither the products,
    ``(B, S, B, S)``, nor the similarities, ``(B, B)``, are ever stored. The result is exact.

    Args:
        tabular: Of each row's ids, ``(B, S, w)``.
        textual: Of each row's text, ``(B, S, w)``.
        temperature: t.
        keys: Columns of ids, ``(B, keys)``: other rows with an equal id in any column are no negatives of a row.
            None: all other rows are.
        columns: C, texts per block; None chooses it by the memory of the products.
    """
    count, subspaces, _ = textual.shape
    columns = columns or max(1, _PRODUCTS // (count * subspaces**2))
    rows, best_rows, texts, own, best_texts = [], [], [], [], []
    for start in range(0, count, columns):
        block = checkpoint(
            _block,
            tabular,
            textual[start : start + columns],
            start,
            temperature,
            keys,
            use_reentrant=False,
            preserve_rng_state=False,  # it draws no random numbers
        )
        rows.append(block[0])
        texts.append(block[1])
        own.append(block[2])
        best_rows.append(block[3])
        best_texts.append(block[4])
    to_text, to_row = torch.cat(own, dim=1)  # similarity of each row and its own text, in both directions, (B,)
    loss = (torch.stack(rows).logsumexp(0) - to_text + torch.cat(texts) - to_row).mean() / 2
    correct = [to_text >= torch.stack(best_rows).amax(0), to_row >= torch.cat(best_texts)]
    return Contrasted(loss, torch.cat(correct))


def _block(
    tabular: Tensor, textual: Tensor, start: int, temperature: float, keys: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Similarities of all rows and a block of texts, over the temperature.

    Args:
        tabular: ``(B, S, w)``.
        textual: ``(C, S, w)``.
        start: Number of the block's first text.
        temperature: As for ``contrast``.
        keys: As for ``contrast``.

    Returns:
        For each row, the logarithm of the sum of exponentials over the texts of the block, ``(B,)``; for each text
        that over all rows, ``(C,)``; similarities of each text and its own row in both directions, ``(2, C)``; the
        largest similarity of each row, ``(B,)``, and of each text, ``(C,)``.
    """
    products = torch.einsum("isw,jzw->isjz", tabular, textual) / temperature
    to_text, to_row = products.amax(3).sum(1), products.amax(1).sum(2)  # (B, C) each
    own = start + torch.arange(len(textual), device=textual.device)  # row of each text
    of_own = torch.stack([sim[own, own - start] for sim in (to_text, to_row)])
    if keys is not None:
        same = (keys.unsqueeze(1) == keys[own]).any(2)  # (B, C)
        same[own, own - start] = False
        to_text, to_row = (sim.masked_fill(same, _EXCLUDED) for sim in (to_text, to_row))
    best = to_text.detach().amax(1), to_row.detach().amax(0)
    return to_text.logsumexp(1), to_row.logsumexp(0), of_own, *best

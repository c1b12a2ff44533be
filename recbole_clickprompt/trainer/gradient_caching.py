"""Losses that couple all rows of a batch, trained in parts by gradient caching (Gao et al., 2021).

A sum of losses of parts cannot express such a loss. But it depends on the weights only through one representation
per row, so that its gradient is a sum over parts of (gradient of the loss by the part's representations) times
(gradient of these representations by the weights)::

    pass 1    each part -> represent -> (n, R), its graph discarded      together: representations (B, R)
    between   batch_loss(representations) -> loss; its gradient by the representations (B, R)
    pass 2    each part -> represent -> (n, R) -> backward from the part's rows of that gradient

Memory is that of one part, time that of one more forward pass. Loss and gradients are those of one pass over the
whole batch, but for rounding, dropout included: both passes of a part use the same random numbers, and the same
operations, which for some layers depend on whether gradients are enabled.

Letters: B rows of a batch, n rows of a part, R width of a representation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from recbole_clickprompt import distributed
from recbole_clickprompt.trainer.data_parallel import gather, shares
from recbole_clickprompt.trainer.stage import autocast

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

__all__ = ["RepresentedRows", "WholeBatchModel", "whole_batch_size"]


def whole_batch_size(rows: int, size: int) -> int:
    """The batch size next to ``size``, smaller ones first, that leaves no last batch of a single row.

    A loss that couples rows is constant on such a batch, whose optimizer step would be one of momentum alone.
    Batches of 2 or more; ``size`` itself if there are fewer than two rows.
    """
    sizes = chain(range(size, 1, -1), range(size + 1, rows + 1))
    return next((found for found in sizes if rows % found != 1), size)


class RepresentedRows(NamedTuple):
    """A part of a batch, with the gradient of the batch's loss by its representations.

    Attributes:
        interaction: Columns of the n rows.
        seed: Of the random numbers of both passes.
        gradient: B times the gradient, ``(n, R)``, as the loss of a part is a mean over its rows; None if the part
            is a whole batch, for which one pass is enough.
        loss: Loss of the batch, a scalar; None like ``gradient``.
    """

    interaction: Interaction
    seed: int
    gradient: Tensor | None = None
    loss: Tensor | None = None


class WholeBatchModel(nn.Module):
    """A ``Trainable`` whose loss couples all rows of a batch; subclasses implement ``represent``, ``batch_loss``.

    It obeys the contract of ``Trainable``: the weighted sum of ``calculate_loss`` over the parts is the loss of
    the batch, and the gradient of that sum is the gradient of the loss. Processes share the rows of each part in
    both passes.

    Args:
        enable_amp: Compute representations in bf16.
    """

    def __init__(self, *, enable_amp: bool) -> None:
        super().__init__()
        self.enable_amp = enable_amp

    def represent(self, interaction: Interaction) -> Tensor:
        """One representation per row, ``(n, R)`` float32: all that depends on weights."""
        raise NotImplementedError

    def batch_loss(self, interaction: Interaction, representations: Tensor) -> Tensor:
        """Loss of a batch, a scalar, of representations, ``(B, R)``; it has no weights of its own."""
        raise NotImplementedError

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Empty: all weights start from random values."""
        return []

    def micro_batches(self, interaction: Interaction, size: int) -> Sequence[Tensor]:
        """Row numbers of the parts of a batch."""
        return torch.arange(len(interaction)).split(size)

    def rows(self, part: RepresentedRows) -> int:
        """Number of rows of a part."""
        return len(part.interaction)

    def select(self, part: RepresentedRows, rows: Tensor) -> tuple[RepresentedRows, float]:
        """A subset of the rows of a part, by number, and its share of the part."""
        gradient = None if part.gradient is None else part.gradient[rows.to(part.gradient.device)]
        return part._replace(interaction=part.interaction[rows], gradient=gradient), len(rows) / self.rows(part)

    def split(self, interaction: Interaction, size: int) -> list[tuple[RepresentedRows, float]]:
        """Computes the loss of a batch and the gradient by its representations, and splits both into parts."""
        seed = int(torch.randint(2**62, ()))
        blocks = self.micro_batches(interaction, size)
        if len(blocks) == 1 and distributed.current().world == 1:
            return [(RepresentedRows(interaction, seed), 1.0)]
        with _unchanged_statistics(self):
            representations = self.representations(interaction, blocks, seed=seed).requires_grad_()
        loss = self.batch_loss(interaction, representations)
        (gradient,) = torch.autograd.grad(loss, representations)
        gradient, loss = gradient * len(interaction), loss.detach()
        return [
            (RepresentedRows(interaction[rows], seed + number, gradient[rows], loss), len(rows) / len(interaction))
            for number, rows in enumerate(blocks)
        ]

    def representations(self, interaction: Interaction, blocks: Sequence[Tensor], *, seed: int = 0) -> Tensor:
        """Representations of a batch, ``(B, R)`` without graph, computed block by block by all processes together.

        Args:
            interaction: Columns of the B rows.
            blocks: Row numbers of each block; together all rows.
            seed: Of the random numbers.
        """
        ranks = distributed.current()
        parts = [(RepresentedRows(interaction[rows], seed + number), 1.0) for number, rows in enumerate(blocks)]
        local = []
        for part, _ in shares(self, parts):
            found = self._represented(part).detach()
            local.append(found[:0] if ranks.is_padding else found)
        if ranks.world == 1:
            return torch.cat(local)[torch.cat(list(blocks)).argsort()]
        by_rank = [[rows[rank :: ranks.world] for rows in blocks] for rank in range(ranks.world)]
        gathered = gather(torch.cat(local), [sum(map(len, parts)) for parts in by_rank])
        return gathered[torch.cat([rows for parts in by_rank for rows in parts]).argsort()]

    def calculate_loss(self, part: RepresentedRows) -> Tensor:
        """The loss of the batch, a scalar with the gradient that is this part's share."""
        return self.coupled_loss(part, self._represented(part))

    def coupled_loss(self, part: RepresentedRows, representations: Tensor) -> Tensor:
        """As ``calculate_loss``, of a part's representations, ``(n, R)``, computed within ``same_state``."""
        if part.gradient is None or part.loss is None:
            return self.batch_loss(part.interaction, representations)
        injected = (representations * part.gradient).sum(1).mean()
        return part.loss + (injected - injected.detach())

    @contextmanager
    def same_state(self, part: RepresentedRows) -> Iterator[None]:
        """The random numbers and the precision of both passes of a part."""
        device = next(iter(part.interaction.interaction.values())).device
        with _seeded(part.seed, device), autocast(device, self.enable_amp):
            yield

    def _represented(self, part: RepresentedRows) -> Tensor:
        with self.same_state(part):
            return self.represent(part.interaction)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of a seed, others on each rank; the state is restored afterwards."""
    entropy = (seed, distributed.current().rank)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))
        yield


@contextmanager
def _unchanged_statistics(model: nn.Module) -> Iterator[None]:
    """Restores the running statistics of batch norms, which would be updated by both passes."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    yield
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)

"""Frequency-guided masking of clicks in training, so that popular items do not own every set of near items.

The paper names the idea and no law. Ours, word2vec's sub-sampling: item i is masked with probability
``min(p_max, max(0, 1 - sqrt(t / f_i)))``, where f_i is its share of all history slots of the training rows, and t
is chosen so that the mean over slots is ``mask_rate``. ``tail`` masks rare items instead, ``uniform`` all alike.

Letters: B rows, T slots of a history.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["mask_rates", "masked_clicks"]

_HIGHEST = 0.5  # p_max: no item is masked more often
_TAIL = 20.0  # clicks at which the rate of ``tail`` has fallen to half
_STEPS = 100  # of the bisection; double precision is reached in about 60


def mask_rates(counts: Tensor, *, mode: str, rate: float) -> Tensor:
    """The probability with which each item's clicks are masked.

    Args:
        counts: History slots of training rows that hold each item, ``(items,)``.
        mode: ``none``, ``uniform``, ``head`` or ``tail``.
        rate: Mean over all slots; below ``_HIGHEST``.

    Returns:
        ``(items,)`` float32; 0 for items without slots, except with ``uniform``.
    """
    counts = counts.double()
    total = counts.sum()
    if mode == "none" or not total or not rate:
        return torch.zeros(len(counts))
    if mode == "uniform":
        return torch.full((len(counts),), rate)
    share = counts / total
    if mode == "head":
        ratio = share.clamp(min=1e-300)
        # Rates fall with t, from _HIGHEST everywhere at t = 0 to 0 at the largest share
        rates = _bisected(
            lambda t: (1 - (t / ratio).sqrt()).clamp(0, _HIGHEST), share, rate, 0.0, float(share.max())
        )
    else:
        shape = _TAIL / (_TAIL + counts)
        # Rates rise with the factor; the search runs downwards for the same direction
        largest = float(_HIGHEST / shape.min()) if len(shape) else 1.0
        rates = _bisected(lambda t: ((largest - t) * shape).clamp(0, _HIGHEST), share, rate, 0.0, largest)
    return rates.where(counts > 0, torch.zeros_like(rates)).float()


def _bisected(rates: Callable[[float], Tensor], share: Tensor, rate: float, low: float, high: float) -> Tensor:
    """``rates(t)`` at the t where their mean, weighted by ``share``, is ``rate``; the mean falls with t."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if float((share * rates(middle)).sum()) > rate:
            low = middle
        else:
            high = middle
    return rates((low + high) / 2)


def masked_clicks(items: Tensor, used: Tensor, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Draws which clicks of a batch are masked; if all of a row would be, its latest click stays.

    Args:
        items: Item ids, oldest first, ``(B, T)``.
        used: Slots that hold a click, ``(B, T)``.
        rates: The result of ``mask_rates``.
        generator: On the CPU, so that devices draw the same.

    Returns:
        True at masked clicks, ``(B, T)``.
    """
    drawn = torch.rand(items.shape, generator=generator).to(items.device)
    masked = (drawn < rates[items]) & used
    slots = torch.arange(1, items.shape[1] + 1, device=items.device)
    latest = used & (slots == (used * slots).amax(1, keepdim=True))
    return masked & ~(latest & (masked == used).all(1, keepdim=True))

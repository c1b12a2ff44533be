"""Which items and users a teacher is asked about, and which answers are held out.

Stratified and importance sampling: the budget is divided among strata by the square root of their sizes, and
within a stratum subjects are drawn without replacement in proportion to their weights. All draws are functions of
the seed and a subject's key, so subjects that are added later do not change those of others.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from recbole_clickprompt.knowledge.prompts import Subject

__all__ = ["allocate", "is_development", "sample", "sample_weight", "uniform"]

_EXPONENT = 0.5  # 1 would be proportional to the sizes, 0 equal shares
_MINIMUM = 8  # per stratum, if it has as many
_DEVELOPMENT = 0.1
_STEPS = 1 << 53


def sample_weight(statistic: np.ndarray) -> np.ndarray:
    """Weights of items or users by a statistic of training rows, such as their number: sqrt(1 + n)."""
    return np.sqrt(1 + statistic)


def allocate(sizes: Mapping[str, int], budget: int, *, minimum: int = _MINIMUM) -> dict[str, int]:
    """Divides a budget among strata.

    Args:
        sizes: Subjects of each stratum.
        budget: Subjects to draw in all, at most the sum of the sizes.
        minimum: At least this many per stratum, or all of a smaller one. If the budget is too small for that, the
            largest minimum that it suffices for.

    Returns:
        Subjects to draw from each stratum, in the order of ``sizes``; their sum is the budget. Shares are
        proportional to the square roots of the sizes within these bounds, rounded by largest remainders.
    """
    budget = min(budget, sum(sizes.values()))
    while sum(min(size, minimum) for size in sizes.values()) > budget:
        minimum -= 1
    bounds = {name: (min(size, minimum), size) for name, size in sizes.items()}
    shares: dict[str, float] = {}
    open_names = {name for name, size in sizes.items() if size}
    shares |= {name: 0.0 for name in sizes if name not in open_names}
    while open_names:
        left = budget - sum(shares.values())
        total = math.fsum(sizes[name] ** _EXPONENT for name in open_names)
        wanted = {name: left * sizes[name] ** _EXPONENT / total for name in open_names}
        # Only one side per round: fixing both could fix a stratum at a bound that it would leave again
        too_low = {name for name in open_names if wanted[name] < bounds[name][0]}
        too_high = {name for name in open_names if wanted[name] > bounds[name][1]}
        surplus = sum(wanted[name] - bounds[name][1] for name in too_high)
        deficit = sum(bounds[name][0] - wanted[name] for name in too_low)
        fixed, side = (too_high, 1) if surplus >= deficit else (too_low, 0)
        if not fixed:
            shares |= wanted
            break
        shares |= {name: float(bounds[name][side]) for name in fixed}
        open_names -= fixed
    numbers = {name: min(math.floor(shares[name] + 1e-9), bounds[name][1]) for name in sizes}
    order = sorted(sizes, key=lambda name: (numbers[name] - shares[name], name))
    missing = budget - sum(numbers.values())
    while missing:
        for name in order:
            if missing and numbers[name] < bounds[name][1]:
                numbers[name] += 1
                missing -= 1
    return numbers


def sample(subjects: Sequence[Subject], budget: int | None, *, seed: int) -> list[Subject]:
    """Draws subjects (Efraimidis and Spirakis: the largest values of log(U) / weight of each stratum).

    Args:
        subjects: With strata and weights.
        budget: Number to draw; None, or at least as many as there are, takes all.
        seed: Of the draws.

    Returns:
        The drawn ones in the order of ``subjects``.
    """
    if budget is None or budget >= len(subjects):
        return list(subjects)
    strata: dict[str, list[Subject]] = defaultdict(list)
    for subject in subjects:
        strata[subject.stratum].append(subject)
    numbers = allocate({name: len(strata[name]) for name in sorted(strata)}, budget)
    drawn: set[str] = set()
    for name, members in strata.items():
        ranked = sorted(members, key=lambda subject: (-_priority(subject, seed), subject.key))
        drawn.update(subject.key for subject in ranked[: numbers[name]])
    return [subject for subject in subjects if subject.key in drawn]


def is_development(level: str, key: str) -> bool:
    """Whether an answer is held out from distillation, to measure it: one in ten, by a hash of its key.

    Profiles of one user as of different blocks are on the same side.
    """
    base = re.sub(r"@[0-9]+$", "", key) if level == "user" else key
    return uniform("split", level, base) < _DEVELOPMENT


def uniform(*names: object) -> float:
    """A number between 0 and 1, both excluded, that is a function of the names."""
    digest = hashlib.sha256("\0".join(map(str, names)).encode()).digest()
    return (int.from_bytes(digest[:8], "big") % _STEPS + 0.5) / _STEPS


def _priority(subject: Subject, seed: int) -> float:
    return math.log(uniform("sample", seed, subject.level, subject.key)) / subject.weight

"""Kinds of the mappings among RecBole's own settings, at whose faults it fails somewhere inside."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from recbole_clickprompt.host.kinds import NAME, Setting, integer, real

__all__ = ["BINS", "EVALUATION", "PARTS", "THRESHOLD"]

PARTS = Setting(
    "a list of the three parts of a split, such as [train, valid, test]",
    lambda v: isinstance(v, list | tuple) and len(v) == 3 and all(map(NAME.accepts, v)),
)
THRESHOLD = Setting(
    "a mapping of one field to a number",
    lambda v: isinstance(v, dict) and len(v) == 1 and all(real(-math.inf).accepts(w) for w in v.values()),
)


def _is_binning(v: Any) -> bool:
    return isinstance(v, dict) and (
        v == {"method": "LD"} or (v.get("method") == "ED" and integer(1).accepts(v.get("bucket")))
    )


BINS = Setting(
    "a mapping of fields to {method: LD} or {method: ED, bucket: an integer from 1}",
    lambda v: isinstance(v, dict) and all(map(_is_binning, v.values())),
)


def _is_split(v: Any) -> bool:
    if not isinstance(v, dict) or len(v) != 1:
        return False
    ((kind, shares),) = v.items()
    if kind == "LS":
        return shares in ("valid_and_test", "valid_only", "test_only")
    return (
        kind == "RS" and isinstance(shares, list | tuple) and len(shares) == 3 and all(map(real().accepts, shares))
    )


_EVALUATION_VALUES: dict[str, Callable[[Any], bool]] = {
    "split": _is_split,
    "order": lambda v: v in ("TO", "RO"),
    "group_by": lambda v: v in ("user", "none", None),
    "mode": lambda v: (
        v == "labeled" or (isinstance(v, dict) and list(v.values()) in (["labeled"], ["labeled"] * 2))
    ),
}
EVALUATION = Setting(
    "a mapping with some of split ({RS: [8, 1, 1]}), order (TO or RO), group_by (user or ~), and mode: labeled",
    lambda v: (
        isinstance(v, dict)
        and "mode" in v
        and all(k in _EVALUATION_VALUES and _EVALUATION_VALUES[k](w) for k, w in v.items())
    ),
)

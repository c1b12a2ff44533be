"""Kinds of RecBole's own settings that have a form of their own, and at whose faults it fails somewhere inside."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable
from typing import Any

from recbole.evaluator.register import metric_types
from recbole.utils import EvaluatorType

from recbole_clickprompt.host.kinds import NAME, Setting, integer, list_of, real

__all__ = [
    "BINS", "CLIPPING", "COLUMNS", "CUTS", "ENCODING", "EVALUATION", "FIELDS", "FIELD_SEPARATOR",
    "INTERVAL", "INTERVALS", "LENGTHS", "METRIC", "METRICS", "NO_TRANSFORM", "PARTS", "SEPARATOR", "THRESHOLD",
]  # fmt: skip

_VALUE_METRICS = sorted(name for name, kind in metric_types.items() if kind is EvaluatorType.VALUE)


def _has_names(v: Any) -> bool:
    return isinstance(v, dict) and all(isinstance(name, str) for name in v)


def _is_metric(v: Any) -> bool:
    return isinstance(v, str) and v.lower() in _VALUE_METRICS


METRIC = Setting("a metric of scores: " + ", ".join(_VALUE_METRICS), _is_metric)
METRICS = Setting(
    f"a list of metrics of scores: {', '.join(_VALUE_METRICS)}",
    lambda v: _is_metric(v) or (isinstance(v, list | tuple) and bool(v) and all(map(_is_metric, v))),
)
CUTS = Setting(
    "an integer from 1, or a list of them",
    lambda v: integer(1).accepts(v) or (isinstance(v, list | tuple) and all(map(integer(1).accepts, v))),
)
FIELD_SEPARATOR = Setting(
    "one ASCII character", lambda v: isinstance(v, str) and len(v) == 1 and v.isascii() and v not in '"\r\n'
)
SEPARATOR = Setting("one or more characters", lambda v: isinstance(v, str) and bool(v))
NO_TRANSFORM = Setting("nothing (~), as transforms are for sequential models", lambda v: v is None)
FIELDS = Setting("a list of fields", list_of(NAME).accepts)
COLUMNS = Setting(
    'a mapping of inter, user or item to lists of fields, or to "*"',
    lambda v: (
        isinstance(v, dict) and all(NAME.accepts(k) and (w == "*" or FIELDS.accepts(w)) for k, w in v.items())
    ),
)
LENGTHS = Setting(
    "a mapping of fields to integers from 1",
    lambda v: _has_names(v) and all(map(integer(1).accepts, v.values())),
)
CLIPPING = Setting(
    "a mapping with max_norm, a number above 0, and perhaps norm_type",
    lambda v: (
        isinstance(v, dict)
        and "max_norm" in v
        and set(v) <= {"max_norm", "norm_type"}
        and all(real(low_open=True, high_open=False).accepts(w) for w in v.values())
    ),
)


def _is_encoding(v: Any) -> bool:
    try:
        # Lines and separators are looked for as bytes
        return isinstance(v, str) and bool(codecs.lookup(v)) and "a,\t\n".encode(v) == b"a,\t\n"
    except (LookupError, UnicodeError):
        return False


ENCODING = Setting("an encoding that Python knows and that contains ASCII, such as utf-8 or latin-1", _is_encoding)

_END = r"\s*(-?inf|[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)\s*"
_INTERVAL = rf"\s*[\[(]{_END},{_END}[\])]\s*"


def _is_interval(v: Any) -> bool:
    return isinstance(v, str) and re.fullmatch(_INTERVAL, v, re.IGNORECASE) is not None


def _is_filter(v: Any) -> bool:
    return FIELDS.accepts(v) or (isinstance(v, str) and all(map(_is_interval, v.split(";"))))


INTERVAL = Setting('an interval such as "[5,inf)"', _is_interval)
INTERVALS = Setting(
    'a mapping of number fields to intervals such as "[1,2];[4,5]", and of others to lists of values',
    lambda v: _has_names(v) and all(map(_is_filter, v.values())),
)
PARTS = Setting(
    "a list of the three parts of a split, such as [train, valid, test]",
    lambda v: isinstance(v, list | tuple) and len(v) == 3 and all(map(NAME.accepts, v)),
)
THRESHOLD = Setting(
    "a mapping of one field to a number",
    lambda v: _has_names(v) and len(v) == 1 and all(real(-math.inf).accepts(w) for w in v.values()),
)


def _is_binning(v: Any) -> bool:
    return isinstance(v, dict) and (
        v == {"method": "LD"} or (v.get("method") == "ED" and integer(1).accepts(v.get("bucket")))
    )


BINS = Setting(
    "a mapping of fields to {method: LD} or {method: ED, bucket: an integer from 1}",
    lambda v: _has_names(v) and all(map(_is_binning, v.values())),
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

"""Types of the values of RecBole's own settings, which RecBole does not check itself."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable
from typing import Any

from recbole_clickprompt.settings.types import FIELD_LIST, NAME, ValueType, integer, list_of, real

__all__ = [
    "ARGUMENTS", "BINS", "CLIPPING", "COLUMNS", "ENCODING", "EVALUATION", "FIELD", "FIELD_SEPARATOR", "GPUS",
    "INTERVAL", "INTERVALS", "LENGTHS", "LOG_LEVEL", "METRIC", "METRICS", "NO_TRANSFORM", "NO_WEIGHTS", "PARTS",
    "SEPARATOR", "THRESHOLD", "TOPK",
]  # fmt: skip

# RecBole's metrics of scores. They are listed here because importing RecBole takes seconds; a test compares them.
# RecBole's own GAUC is one of rankings; trainer/group_metrics.py has one of scores.
_VALUE_METRICS = ("auc", "gauc", "logloss", "mae", "rmse")


def _has_names(v: object) -> bool:
    return isinstance(v, dict) and all(isinstance(name, str) for name in v)


def _is_metric(v: object) -> bool:
    return isinstance(v, str) and v.lower() in _VALUE_METRICS


METRIC = ValueType("str", "a metric of scores: " + ", ".join(_VALUE_METRICS), _is_metric)
METRICS = ValueType(
    "list of str",
    f"a list of metrics of scores: {', '.join(_VALUE_METRICS)}",
    lambda v: _is_metric(v) or (isinstance(v, list | tuple) and bool(v) and all(map(_is_metric, v))),
)
TOPK = ValueType(
    "int or list of int",
    "an integer from 1, or a list of them",
    lambda v: integer(1).accepts(v) or (isinstance(v, list | tuple) and all(map(integer(1).accepts, v))),
)
FIELD_SEPARATOR = ValueType(
    "str",
    "one ASCII character",
    lambda v: isinstance(v, str) and len(v) == 1 and v.isascii() and v not in '"\r\n',
)
SEPARATOR = ValueType("str", "one or more characters", lambda v: isinstance(v, str) and bool(v))
_LEVELS = ("critical", "error", "warning", "info", "debug")
LOG_LEVEL = ValueType(
    "str", f"one of {', '.join(_LEVELS)}", lambda v: v is None or (isinstance(v, str) and v.lower() in _LEVELS)
)
NO_WEIGHTS = ValueType("None", "nothing (~), as no file of embeddings is read", lambda v: not v)
FIELD = ValueType(
    "str", "the name of a field, a text of at most 200 characters", lambda v: NAME.accepts(v) and len(v) <= 200
)
# As torch's CUDA_VISIBLE_DEVICES; YAML and RecBole make a number of one, and a tuple of several
GPUS = ValueType(
    "str",
    "numbers of GPUs such as '0,1', or '' for the CPU",
    lambda v: (
        v is None  # an empty value on the command line
        or integer(0, 1024).accepts(v)
        or (isinstance(v, str) and re.fullmatch(r"|\d{1,4}(\s*,\s*\d{1,4})*", v.strip()) is not None)
        or (isinstance(v, list | tuple) and bool(v) and all(map(integer(0, 1024).accepts, v)))
    ),
)
NO_TRANSFORM = ValueType("None", "null (~), as transforms are for sequential models", lambda v: v is None)
COLUMNS = ValueType(
    "dict",
    'a mapping of inter, user or item to lists of fields, or to "*"',
    lambda v: (
        isinstance(v, dict) and all(NAME.accepts(k) and (w == "*" or FIELD_LIST.accepts(w)) for k, w in v.items())
    ),
)
LENGTHS = ValueType(
    "dict",
    "a mapping of fields to integers from 1",
    lambda v: _has_names(v) and all(map(integer(1).accepts, v.values())),
)
CLIPPING = ValueType(
    "dict",
    "a mapping with max_norm, a number above 0, and optionally norm_type",
    lambda v: (
        isinstance(v, dict)
        and "max_norm" in v
        and set(v) <= {"max_norm", "norm_type"}
        and all(real(low_open=True, high_open=False).accepts(w) for w in v.values())
    ),
)


def _is_encoding(v: object) -> bool:
    try:
        # The readers search for line ends and separators as bytes
        return isinstance(v, str) and bool(codecs.lookup(v)) and "a,\t\n".encode(v) == b"a,\t\n"
    except (LookupError, UnicodeError):
        return False


ENCODING = ValueType(
    "str", "an encoding that Python supports and that extends ASCII, such as utf-8 or latin-1", _is_encoding
)

_END = r"\s*(-?inf|[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)\s*"
_INTERVAL = rf"\s*[\[(]{_END},{_END}[\])]\s*"


def _is_interval(v: object) -> bool:
    return isinstance(v, str) and re.fullmatch(_INTERVAL, v, re.IGNORECASE) is not None


def _is_filter(v: object) -> bool:
    return list_of(NAME).accepts(v) or (isinstance(v, str) and all(map(_is_interval, v.split(";"))))


INTERVAL = ValueType("str", 'an interval such as "[5,inf)"', _is_interval)
INTERVALS = ValueType(
    "dict",
    'a mapping of number fields to intervals such as "[1,2];[4,5]", and of other fields to lists of values',
    lambda v: _has_names(v) and all(map(_is_filter, v.values())),
)
PARTS = ValueType(
    "list of str",
    "a list of the file suffixes of the three parts of a split, such as [train, valid, test]",
    lambda v: isinstance(v, list | tuple) and len(v) == 3 and all(map(NAME.accepts, v)),
)
ARGUMENTS = ValueType("dict", "a mapping of arguments, which RecBole checks itself", lambda v: True)
THRESHOLD = ValueType(
    "dict",
    "a mapping of one field to a number",
    lambda v: _has_names(v) and len(v) == 1 and all(real(-math.inf).accepts(w) for w in v.values()),
)


def _is_binning(v: object) -> bool:
    return isinstance(v, dict) and (
        v == {"method": "LD"} or (v.get("method") == "ED" and integer(1).accepts(v.get("bucket")))
    )


BINS = ValueType(
    "dict",
    "a mapping of fields to {method: LD} or {method: ED, bucket: an integer from 1}",
    lambda v: _has_names(v) and all(map(_is_binning, v.values())),
)


def _is_split(v: object) -> bool:
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
EVALUATION = ValueType(
    "dict",
    "a mapping with any of split ({RS: [8, 1, 1]}), order (TO or RO), group_by (user or ~), and mode: labeled",
    lambda v: (
        isinstance(v, dict)
        and "mode" in v
        and all(k in _EVALUATION_VALUES and _EVALUATION_VALUES[k](w) for k, w in v.items())
    ),
)

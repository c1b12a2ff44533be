"""What the value of a setting may be: ours, and those of RecBole's settings, which it never checks itself."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recbole.evaluator.register import metric_types
from recbole.utils import EvaluatorType

__all__ = [
    "ARGUMENTS", "BINS", "BOOLEAN", "CLIPPING", "COLUMNS", "DROPOUT", "ENCODING", "EVALUATION",
    "FEATURE_GROUPS", "FIELD", "FIELD_LIST", "FIELD_NAMES", "FIELD_SEPARATOR", "FRACTION", "GPUS", "INTERVAL",
    "INTERVALS", "LENGTHS", "LOG_LEVEL", "LORA", "METRIC", "METRICS", "NAME", "NO_TRANSFORM", "NO_WEIGHTS",
    "PARTS", "POSITIVE", "RENAMINGS", "SEPARATOR", "SIZES", "TEXT", "THRESHOLD", "TOPK", "VALUE_LABELS",
    "WIDTHS", "ValueType", "choice", "integer", "list_of", "must_be", "optional", "real", "subset_of",
]  # fmt: skip


@dataclass(frozen=True)
class ValueType:
    """The values that a setting may have.

    Attributes:
        name: Short, as in ``key: value  # (int or None) ...``.
        expected: In words, for an error: ``<setting> must be <expected>``.
        test: Whether a value is one of them.
    """

    name: str
    expected: str
    test: Callable[[Any], bool]

    def accepts(self, value: Any) -> bool:
        """Whether a value is one of them, whatever it is."""
        try:
            return bool(self.test(value))
        except (TypeError, ValueError, OverflowError, AttributeError, RecursionError):
            return False


def integer(at_least: int, at_most: float = math.inf) -> ValueType:
    """Whole numbers from ``at_least`` on; True and False are none."""
    return ValueType(
        "int",
        f"an integer, {at_least} or more" if at_most == math.inf else f"an integer from {at_least} to {at_most}",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and at_least <= v <= at_most,
    )


def real(low: float = 0.0, high: float = math.inf, *, low_open: bool = False, high_open: bool = True) -> ValueType:
    """Finite numbers from ``low`` to ``high``; an open end is no value itself."""

    def accepts(v: Any) -> bool:
        number = isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
        return number and (v > low if low_open else v >= low) and (v < high if high_open else v <= high)

    bounds = f"{'above' if low_open else 'from'} {low:g}"
    if high < math.inf:
        bounds += f" to {'below ' if high_open else ''}{high:g}"
    return ValueType("float", f"a number {bounds}", accepts)


def choice(*names: str) -> ValueType:
    """One of some names."""
    return ValueType("str", "one of " + ", ".join(names), lambda v: isinstance(v, str) and v in names)


def subset_of(*names: str) -> ValueType:
    """A list of one or more of some names, each once."""
    return ValueType(
        "list of str",
        "a list of one or more of " + ", ".join(names) + ", each once",
        lambda v: (
            isinstance(v, list | tuple)
            and bool(v)
            and all(isinstance(name, str) and name in names for name in v)
            and len(set(v)) == len(v)
        ),
    )


def must_be(value: bool, why: str) -> ValueType:
    """A switch with one possible value, and why."""
    return ValueType("bool", f"{value}: {why}", lambda v: v is value)


def list_of(item: ValueType) -> ValueType:
    """A list, which may be empty."""
    return ValueType(
        f"list of {item.name}",
        f"a list, each {item.expected}",
        lambda v: isinstance(v, list | tuple) and all(map(item.accepts, v)),
    )


def optional(inner: ValueType) -> ValueType:
    """The same, or None."""
    return ValueType(
        f"{inner.name} or None", f"{inner.expected}, or nothing (~)", lambda v: v is None or inner.accepts(v)
    )


def _is_text_mapping(v: Any) -> bool:
    return isinstance(v, dict) and all(
        isinstance(k, str) and isinstance(w, str) and w.strip() for k, w in v.items()
    )


BOOLEAN = ValueType("bool", "True or False", lambda v: isinstance(v, bool))
TEXT = ValueType("str", "a text", lambda v: isinstance(v, str))
NAME = ValueType("str", "a name or a path", lambda v: isinstance(v, str) and bool(v.strip()))
POSITIVE = real(low_open=True)
FRACTION = real(0, 1, high_open=False)
DROPOUT = real(0, 1)
SIZES = list_of(integer(1))
WIDTHS = ValueType("list of int", "a list of one or more integers from 1", lambda v: SIZES.accepts(v) and bool(v))
FIELD_NAMES = ValueType(
    "dict", "a mapping of fields to their names in words, one or more", lambda v: _is_text_mapping(v) and bool(v)
)


def _is_code_mapping(v: Any) -> bool:
    # Python's True may be "yes", "Y" or "true" in the data: only the user can tell
    return isinstance(v, dict) and all(
        isinstance(code, str | int | float)
        and not isinstance(code, bool)
        and isinstance(word, str | int | float)
        and not isinstance(word, bool)
        and str(word).strip()
        for code, word in v.items()
    )


VALUE_LABELS = ValueType(
    "dict",
    "a mapping of fields to mappings of codes to words, both of them texts",
    lambda v: isinstance(v, dict) and all(isinstance(k, str) and _is_code_mapping(w) for k, w in v.items()),
)
RENAMINGS = ValueType(
    "dict",
    "a mapping of inter, user or item to mappings of field names to other names",
    lambda v: (
        isinstance(v, dict) and set(v) <= {"inter", "user", "item"} and all(map(_is_text_mapping, v.values()))
    ),
)
_TARGET_MODULES = list_of(NAME)
_LORA_VALUES = {
    "r": integer(1).accepts,
    "alpha": POSITIVE.accepts,
    "dropout": DROPOUT.accepts,
    "target_modules": lambda v: NAME.accepts(v) or (_TARGET_MODULES.accepts(v) and bool(v)),
}
LORA = ValueType(
    "dict",
    "a mapping with some of r (an integer from 1), alpha (a number above 0), dropout (from 0 to below 1), "
    "target_modules (names)",
    lambda v: isinstance(v, dict) and all(k in _LORA_VALUES and _LORA_VALUES[k](w) for k, w in v.items()),
)
FEATURE_GROUPS = ValueType(
    "dict",
    "a mapping of the numbers 0, 1, ... to lists of features",
    lambda v: (
        isinstance(v, dict) and set(v) == set(range(len(v))) and all(isinstance(f, list) for f in v.values())
    ),
)

# Of RecBole's own settings

_VALUE_METRICS = sorted(name for name, kind in metric_types.items() if kind is EvaluatorType.VALUE)


def _has_names(v: Any) -> bool:
    return isinstance(v, dict) and all(isinstance(name, str) for name in v)


def _is_metric(v: Any) -> bool:
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
NO_TRANSFORM = ValueType("None", "nothing (~), as transforms are for sequential models", lambda v: v is None)
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
FIELD_LIST = ValueType("list of str", "a list of fields", list_of(NAME).accepts)
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


ENCODING = ValueType(
    "str", "an encoding that Python knows and that contains ASCII, such as utf-8 or latin-1", _is_encoding
)

_END = r"\s*(-?inf|[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)\s*"
_INTERVAL = rf"\s*[\[(]{_END},{_END}[\])]\s*"


def _is_interval(v: Any) -> bool:
    return isinstance(v, str) and re.fullmatch(_INTERVAL, v, re.IGNORECASE) is not None


def _is_filter(v: Any) -> bool:
    return FIELD_LIST.accepts(v) or (isinstance(v, str) and all(map(_is_interval, v.split(";"))))


INTERVAL = ValueType("str", 'an interval such as "[5,inf)"', _is_interval)
INTERVALS = ValueType(
    "dict",
    'a mapping of number fields to intervals such as "[1,2];[4,5]", and of others to lists of values',
    lambda v: _has_names(v) and all(map(_is_filter, v.values())),
)
PARTS = ValueType(
    "list of str",
    "a list of the three parts of a split, such as [train, valid, test]",
    lambda v: isinstance(v, list | tuple) and len(v) == 3 and all(map(NAME.accepts, v)),
)
ARGUMENTS = ValueType("dict", "a mapping of arguments, which RecBole checks itself", lambda v: True)
THRESHOLD = ValueType(
    "dict",
    "a mapping of one field to a number",
    lambda v: _has_names(v) and len(v) == 1 and all(real(-math.inf).accepts(w) for w in v.values()),
)


def _is_binning(v: Any) -> bool:
    return isinstance(v, dict) and (
        v == {"method": "LD"} or (v.get("method") == "ED" and integer(1).accepts(v.get("bucket")))
    )


BINS = ValueType(
    "dict",
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
EVALUATION = ValueType(
    "dict",
    "a mapping with some of split ({RS: [8, 1, 1]}), order (TO or RO), group_by (user or ~), and mode: labeled",
    lambda v: (
        isinstance(v, dict)
        and "mode" in v
        and all(k in _EVALUATION_VALUES and _EVALUATION_VALUES[k](w) for k, w in v.items())
    ),
)

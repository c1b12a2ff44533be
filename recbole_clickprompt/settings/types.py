"""Types of setting values. Types that only RecBole's own settings have are in ``recbole_types.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BOOLEAN", "BOOLEAN_OR_AUTO", "COLUMN_NAMES", "DROPOUT", "FEATURE_GROUPS", "FIELD_LIST", "FIELD_NAMES",
    "FRACTION", "LORA", "NAME", "POSITIVE", "RENAMINGS", "SEPARATORS", "SIZES", "TEXT", "VALUE_LABELS", "WIDTHS",
    "ValueType", "choice", "integer", "list_of", "must_be", "optional", "real", "subset_of",
]  # fmt: skip


@dataclass(frozen=True)
class ValueType:
    """The values that a setting may have.

    Attributes:
        name: Short name, as in ``key: value  # (int or None) ...``.
        expected: Description for errors: ``<setting> must be <expected>``.
        test: Returns whether a value is valid; it may raise for values of unexpected types.
    """

    name: str
    expected: str
    test: Callable[[Any], bool]

    def accepts(self, value: object) -> bool:
        """Whether a value of any type is valid."""
        try:
            return bool(self.test(value))
        except (TypeError, ValueError, OverflowError, AttributeError, RecursionError):
            return False


_LARGEST = 2**31 - 1  # larger sizes and counts overflow in torch


def integer(at_least: int, at_most: float = math.inf) -> ValueType:
    """Integers from ``at_least`` to ``at_most``, by default 2^31 - 1; True and False are not accepted."""
    largest = at_most if at_most < math.inf else _LARGEST
    return ValueType(
        "int",
        f"an integer, {at_least} or more" if at_most == math.inf else f"an integer from {at_least} to {at_most}",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and at_least <= v <= largest,
    )


def real(low: float = 0.0, high: float = math.inf, *, low_open: bool = False, high_open: bool = True) -> ValueType:
    """Finite numbers from ``low`` to ``high``; an open end is excluded."""

    def accepts(v: object) -> bool:
        if not isinstance(v, int | float) or isinstance(v, bool) or not math.isfinite(v):
            return False
        return (v > low if low_open else v >= low) and (v < high if high_open else v <= high)

    bounds = f"{'above' if low_open else 'from'} {low:g}"
    if high < math.inf:
        bounds += f" to {'below ' if high_open else ''}{high:g}"
    return ValueType("float", f"a number {bounds}", accepts)


def choice(*names: str) -> ValueType:
    """One of the given names."""
    return ValueType("str", "one of " + ", ".join(names), lambda v: isinstance(v, str) and v in names)


def subset_of(*names: str) -> ValueType:
    """A non-empty list of the given names without repetition."""
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
    """A boolean for which only ``value`` is supported; ``why`` is part of the error message."""
    return ValueType("bool", f"{value}: {why}", lambda v: v is value)


def list_of(item: ValueType) -> ValueType:
    """A list, possibly empty, of values of one type."""
    return ValueType(
        f"list of {item.name}",
        f"a list in brackets, each {item.expected}",
        lambda v: isinstance(v, list | tuple) and all(map(item.accepts, v)),
    )


def optional(inner: ValueType) -> ValueType:
    """A value of the given type, or None."""
    return ValueType(
        f"{inner.name} or None", f"{inner.expected}, or null (~)", lambda v: v is None or inner.accepts(v)
    )


def _is_text_mapping(v: object) -> bool:
    return isinstance(v, dict) and all(
        isinstance(k, str) and isinstance(w, str) and w.strip() for k, w in v.items()
    )


BOOLEAN = ValueType("bool", "True or False", lambda v: isinstance(v, bool))
BOOLEAN_OR_AUTO = ValueType("bool or auto", "True, False or auto", lambda v: isinstance(v, bool) or v == "auto")
TEXT = ValueType("str", "a string", lambda v: isinstance(v, str))
NAME = ValueType("str", "a name or a path", lambda v: isinstance(v, str) and bool(v.strip()))
POSITIVE = real(low_open=True)
FRACTION = real(0, 1, high_open=False)
DROPOUT = real(0, 1)
SIZES = list_of(integer(1))
WIDTHS = ValueType("list of int", "a list of one or more integers from 1", lambda v: SIZES.accepts(v) and bool(v))
FIELD_LIST = ValueType(
    "list of str",
    "a list of fields, each once",
    lambda v: list_of(NAME).accepts(v) and len(set(v)) == len(v),
)
FIELD_NAMES = ValueType(
    "dict", "a mapping of one or more fields to their names in words", lambda v: _is_text_mapping(v) and bool(v)
)
COLUMN_NAMES = ValueType(
    "dict",
    "a mapping of columns to fields, or to null (~) where a column is not read",
    lambda v: (
        isinstance(v, dict) and all(isinstance(k, str) and (w is None or NAME.accepts(w)) for k, w in v.items())
    ),
)
SEPARATORS = ValueType(
    "dict",
    "a mapping of fields to one or more characters",
    lambda v: isinstance(v, dict) and all(isinstance(k, str) and isinstance(w, str) and w for k, w in v.items()),
)


def _is_code_mapping(v: object) -> bool:
    # A boolean is rejected: True may stand for "yes", "Y" or "true" in the data, and only the user knows which
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
    "a mapping of fields to mappings of codes to words, all of them strings",
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
    "a mapping with any of r (an integer from 1), alpha (a number above 0), dropout (from 0 to below 1), "
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

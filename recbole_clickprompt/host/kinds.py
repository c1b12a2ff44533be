"""Kinds of values that a setting may have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BOOLEAN", "DROPOUT", "FEATURE_GROUPS", "FIELD_NAMES", "FRACTION", "LORA", "NAME", "POSITIVE", "RENAMINGS",
    "SIZES", "TEXT", "VALUE_WORDS", "WIDTHS",
    "Setting", "choice", "integer", "list_of", "only", "optional", "real", "some_of",
]  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """The values a key may take: ``expected`` in words, and a test of them."""

    expected: str
    test: Callable[[Any], bool]

    def accepts(self, value: Any) -> bool:
        """Whether a value is one of them, whatever it is."""
        try:
            return bool(self.test(value))
        except (TypeError, ValueError, OverflowError, AttributeError, RecursionError):
            return False


def integer(at_least: int, at_most: float = math.inf) -> Setting:
    """Whole numbers from ``at_least`` on; True and False are none."""
    return Setting(
        f"an integer, {at_least} or more" if at_most == math.inf else f"an integer from {at_least} to {at_most}",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and at_least <= v <= at_most,
    )


def real(low: float = 0.0, high: float = math.inf, *, low_open: bool = False, high_open: bool = True) -> Setting:
    """Finite numbers from ``low`` to ``high``; an open end is no value itself."""

    def accepts(v: Any) -> bool:
        number = isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
        return number and (v > low if low_open else v >= low) and (v < high if high_open else v <= high)

    bounds = f"{'above' if low_open else 'from'} {low:g}"
    if high < math.inf:
        bounds += f" to {'below ' if high_open else ''}{high:g}"
    return Setting(f"a number {bounds}", accepts)


def choice(*names: str) -> Setting:
    """One of some names."""
    return Setting("one of " + ", ".join(names), lambda v: isinstance(v, str) and v in names)


def some_of(*names: str) -> Setting:
    """A list of one or more of some names, each once."""
    return Setting(
        "a list of one or more of " + ", ".join(names) + ", each once",
        lambda v: (
            isinstance(v, list | tuple)
            and bool(v)
            and all(isinstance(name, str) and name in names for name in v)
            and len(set(v)) == len(v)
        ),
    )


def only(value: bool, why: str) -> Setting:
    """A switch that stands still, and why."""
    return Setting(f"{value}: {why}", lambda v: v is value)


def list_of(item: Setting) -> Setting:
    """A list, which may be empty."""
    return Setting(
        f"a list, each {item.expected}",
        lambda v: isinstance(v, list | tuple) and all(map(item.accepts, v)),
    )


def optional(setting: Setting) -> Setting:
    """The same, or None."""
    return Setting(f"{setting.expected}, or nothing (~)", lambda v: v is None or setting.accepts(v))


def _is_text_mapping(v: Any) -> bool:
    return isinstance(v, dict) and all(
        isinstance(k, str) and isinstance(w, str) and w.strip() for k, w in v.items()
    )


BOOLEAN = Setting("True or False", lambda v: isinstance(v, bool))
TEXT = Setting("a text", lambda v: isinstance(v, str))
NAME = Setting("a name or a path", lambda v: isinstance(v, str) and bool(v.strip()))
POSITIVE = real(low_open=True)
FRACTION = real(0, 1, high_open=False)
DROPOUT = real(0, 1)
SIZES = list_of(integer(1))
WIDTHS = Setting("a list of one or more integers from 1", lambda v: SIZES.accepts(v) and bool(v))
FIELD_NAMES = Setting(
    "a mapping of fields to their names in words, one or more", lambda v: _is_text_mapping(v) and bool(v)
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


VALUE_WORDS = Setting(
    "a mapping of fields to mappings of codes to words, both of them texts",
    lambda v: isinstance(v, dict) and all(isinstance(k, str) and _is_code_mapping(w) for k, w in v.items()),
)
RENAMINGS = Setting(
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
LORA = Setting(
    "a mapping with some of r (an integer from 1), alpha (a number above 0), dropout (from 0 to below 1), "
    "target_modules (names)",
    lambda v: isinstance(v, dict) and all(k in _LORA_VALUES and _LORA_VALUES[k](w) for k, w in v.items()),
)
FEATURE_GROUPS = Setting(
    "a mapping of the numbers 0, 1, ... to lists of features",
    lambda v: (
        isinstance(v, dict) and set(v) == set(range(len(v))) and all(isinstance(f, list) for f in v.values())
    ),
)

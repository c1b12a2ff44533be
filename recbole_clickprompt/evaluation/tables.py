"""Tables as Markdown, and as files."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.files import write_whole

__all__ = [
    "check_table_path",
    "interval_cell",
    "markdown_table",
    "number",
    "percent",
    "prompt_columns",
    "with_interval",
    "write_table",
]

_SUFFIXES = (".csv", ".parquet", ".json")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of formatted cells; ``|`` in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def number(value: float, form: str = ".4f") -> str:
    """A formatted number; empty if missing."""
    return "" if pd.isna(value) else format(value, form)


def percent(value: float, low: float = float("nan"), high: float = float("nan")) -> str:
    """A share as a signed percentage, such as ``+0.57 %`` or ``+0.57 [+0.11, +1.02] %``; empty if missing."""
    if pd.isna(value):
        return ""
    return f"{with_interval(_percentage(value), _percentage(low), _percentage(high), '+.2f')} %"


def _percentage(share: float) -> float:
    return round(100 * share, 2) + 0.0  # turns -0.00 into 0.00


def with_interval(value: float, low: float, high: float, form: str = ".4f") -> str:
    """``value [low, high]``; ``value`` alone if the interval is missing."""
    return number(value, form) if pd.isna(low) else f"{number(value, form)} [{low:{form}}, {high:{form}}]"


def interval_cell(line: Mapping[Hashable, Any] | pd.Series, name: str, form: str = ".4f") -> str:
    """``with_interval`` of the columns ``name``, ``name_low`` and ``name_high`` of one line of a table."""
    return with_interval(line[name], line[f"{name}_low"], line[f"{name}_high"], form)


def check_table_path(path: Path) -> Path:
    """Refuses a file that ``write_table`` cannot write, before any work is done.

    Raises:
        SettingError: It does not end in .csv, .parquet or .json.
    """
    if path.suffix not in _SUFFIXES:
        raise SettingError(f"a table's file must end in one of {', '.join(_SUFFIXES)}, got {path}")
    return path


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as a whole or not at all; JSON is a list with one object per line of the table.

    Raises:
        SettingError: As ``check_table_path``.
        StorageError: It cannot be written.
    """

    def write(partial: Path) -> None:
        if path.suffix == ".parquet":
            table.to_parquet(partial, index=False)
        elif path.suffix == ".csv":
            table.to_csv(partial, index=False)
        else:
            table.to_json(partial, orient="records", indent=1, force_ascii=False, double_precision=15)

    write_whole(check_table_path(path), write)


def prompt_columns(table: pd.DataFrame) -> list[str]:
    """The columns of an attention table that hold the K prompts."""
    return [name for name in table.columns if name.startswith("prompt_")]

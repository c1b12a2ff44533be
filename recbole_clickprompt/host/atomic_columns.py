"""The columns of an atomic file as RecBole stores them: sequences as arrays, fields renamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_clickprompt.data.numbers import parse_arrow_numbers
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.atomic_reader import AtomicTable, read_atomic
from recbole_clickprompt.settings.values import Settings

__all__ = ["read_features"]


def read_features(
    path: Path, source: str, config: Settings, *, wanted: Callable[[str], bool], part: tuple[int, int] = (0, 1)
) -> AtomicTable:
    """Reads an atomic file, applying settings such as ``rename_fields``, ``whole_text_fields`` and ``seq_len``.

    Infinite numbers count as missing, with a warning.

    Args:
        path: The file.
        source: Its key in ``rename_fields``, such as ``inter``.
        config: Settings of the run.
        wanted: Whether to read a field, given its new name.
        part: As for ``read_atomic``.

    Returns:
        The table with sequences as arrays; fields in ``whole_text_fields`` and ``text_only_fields`` have the type
        ``token``.

    Raises:
        DataError: The file cannot be read, a text contains a NUL, a sequence of numbers contains something else,
            or ``rename_fields`` names a missing field or gives two fields the same name.
    """
    names = (config["rename_fields"] or {}).get(source, {})
    header: list[str] = []

    def wanted_by_old_name(field: str) -> bool:
        header.append(field)
        return wanted(names.get(field, field))

    table = read_atomic(
        path,
        separator=config["field_separator"],
        encoding=config["encoding"] or "utf-8",
        quoted=config["quoting"] == "csv",
        wanted=wanted_by_old_name,
        part=part,
    )
    _check_renaming(names, header, path)
    if table.looks_quoted:
        getLogger().warning(
            f"{path}: quotes are read as ordinary characters, but look like CSV quoting (quotes inside quoted "
            "values are doubled); if so, set `quoting: csv`"
        )
    frame, types = table.frame.rename(columns=names), {names.get(f, f): kind for f, kind in table.types.items()}
    infinite = {names.get(field, field): rows for field, rows in table.infinite.items()}
    for field, rows in infinite.items():
        getLogger().warning(
            f"{path}: {len(rows)} values of {field} are infinite and count as missing; the first is in line "
            f"{table.line_of(rows[0])}"
        )
    for field, kind in types.items():
        if kind != "float" and config["encoding"] not in (None, "utf-8"):
            _check_nul(table, frame[field], path)
        if kind == "token_seq" and field in (*(config["whole_text_fields"] or ()), *config["text_only_fields"]):
            words = frame[field].fillna("").str.split().map(" ".join)
            frame[field], types[field] = words.where(words != "", None), "token"
        elif kind.endswith("_seq"):
            frame[field] = pd.Series(
                _sequences(frame[field].fillna(""), f"{path}, column {field}", kind, field, config),
                index=frame.index,
            )
    return table._replace(frame=frame, types=types, infinite=infinite)


def _check_renaming(names: Mapping[str, str], header: list[str], path: Path) -> None:
    for old in names:
        if old not in header:
            raise DataError(
                f"rename_fields names {old!r} of {path}, but the file has no such field; its fields are "
                f"{', '.join(map(repr, header))}"
            )
    new = [names.get(field, field) for field in header]
    for field, name in zip(header, new, strict=True):
        if field in names and new.count(name) > 1:
            raise DataError(
                f"rename_fields gives {field!r} of {path} the name {name!r}, which another of its fields has; "
                "choose another name"
            )


def _check_nul(table: AtomicTable, texts: pd.Series, path: Path) -> None:
    # Encodings such as UTF-7 write NUL without a zero byte, which read_atomic looks for
    found = texts.str.contains("\0", regex=False, na=False)
    if found.any():
        line = table.line_of(int(found.to_numpy().argmax()))
        raise DataError(f"{path}, line {line}, column {texts.name}: a NUL character; the file is damaged")


def _sequences(values: pd.Series, place: str, kind: str, field: str, config: Settings) -> list[np.ndarray]:
    # Split at the separator as RecBole does, not at any white space
    separator, length = config["seq_separator"], (config["seq_len"] or {}).get(field)
    rows = [list(filter(None, value.split(separator)))[:length] for value in values]
    if kind == "token_seq":
        return [np.array(row, dtype=object) for row in rows]
    flat = pa.array([value for row in rows for value in row], pa.string())
    numbers = parse_arrow_numbers(flat).values
    if numbers.null_count:
        bad = flat[pc.indices_nonzero(numbers.is_null())[0].as_py()].as_py()
        raise DataError(f"{place}: {bad[:60]!r} is not a finite number; a sequence of numbers cannot have gaps")
    ends = np.cumsum([len(row) for row in rows])
    return np.split(numbers.to_numpy(zero_copy_only=False), ends[:-1]) if rows else []

"""Rows that cannot be trained on: each is refused with its line, or dropped by a setting and counted."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.atomic_reader import AtomicTable

__all__ = ["check_aliases", "check_entities", "check_interactions"]


def check_interactions(table: AtomicTable, path: Path, config: Any, *, by_time: bool) -> pd.DataFrame:
    """The rows of an ``.inter`` file that have a user, an item, a label and, where rows are ordered by it, a time.

    Args:
        table: What was read of it.
        path: The file.
        config: RecBole's.
        by_time: The rows are split by their time.

    Returns:
        All rows; with ``drop_missing`` those that lack nothing, and a warning says how many do not.

    Raises:
        DataError: A field is missing or of a wrong type, a label or time is infinite, a time is beyond 64 bits,
            a label is not 0 or 1, an id is surrounded by blanks, or a row lacks a value and ``drop_missing`` is
            False.
    """
    user, item, time = (config[f"{name}_FIELD"] for name in ("USER_ID", "ITEM_ID", "TIME"))
    _check_id(table, path, "USER_ID_FIELD", user)
    _check_id(table, path, "ITEM_ID_FIELD", item)
    label = next(iter(config["threshold"] or ()), config["LABEL_FIELD"])
    needed = [user, item]
    if label in table.types:
        _check_numbers(table, path, label, f"holds the label, so it must be {label}:float")
        needed.append(label)
    if by_time and time in table.types:
        _check_numbers(table, path, time, f"holds the time that rows are split by, so it must be {time}:float")
        needed.append(time)
    if table.types.get(time) == "float":
        _check_times(table, path, time)
    frame = _without_missing(table, path, needed, drop=bool(config["drop_missing"]))
    if label in table.types and not config["threshold"]:
        _check_binary(frame, path, label)
    return frame


def check_entities(table: AtomicTable, path: Path, key: str) -> None:
    """Refuses a ``.user`` or ``.item`` file that rows cannot be looked up in, and warns of ids that come again.

    Args:
        table: What was read of it.
        path: The file.
        key: Field of the ids.

    Raises:
        DataError: It has no rows or not this field, or an id is missing or surrounded by blanks.
    """
    _check_id(table, path, "USER_ID_FIELD" if path.suffix == ".user" else "ITEM_ID_FIELD", key)
    if table.frame.empty:
        raise DataError(f"{path} has no rows under its header; add them, or remove the file and its fields")
    _without_missing(table, path, [key], drop=False)
    repeated = table.frame[key].duplicated()
    if repeated.any():
        row = int(repeated.to_numpy().argmax())
        getLogger().warning(
            f"{path}: {int(repeated.sum())} rows repeat an id of an earlier row, which counts; the first is line "
            f"{table.line_of(row)}, {table.frame[key].iloc[row]!r}"
        )


def check_aliases(table: AtomicTable, path: Path, config: Any) -> None:
    """Refuses fields that share the ids of users or items, but cannot hold any.

    Args:
        table: What was read of the file.
        path: The file.
        config: RecBole's; ``alias_of_user_id`` and ``alias_of_item_id`` name the fields.

    Raises:
        DataError: Such a field holds numbers, or an id in it is surrounded by blanks.
    """
    for setting in ("alias_of_user_id", "alias_of_item_id"):
        for field in table.types.keys() & set(config[setting] or ()):
            kind = table.types[field]
            if not kind.startswith("token"):
                raise DataError(
                    f"{path}: {setting} names {field!r}, so it holds ids and its header must be {field}:token or "
                    f"{field}:token_seq, got {field}:{kind}"
                )
            # a sequence is an array; the index says which row each of its ids is in
            _check_blanks(table.frame[field].explode() if kind == "token_seq" else table.frame[field], table, path)


def _check_id(table: AtomicTable, path: Path, setting: str, field: str) -> None:
    if field not in table.types:
        raise DataError(
            f"load_col or unload_col leaves out {field!r} of {path}, but {setting} names it; loaded are "
            f"{', '.join(map(repr, table.types)) or 'none'}; add it to load_col"
        )
    if table.types[field] != "token":
        raise DataError(
            f"{path}: {field} holds ids, so its header must be {field}:token, got {field}:{table.types[field]}"
        )
    ids = table.frame[field]
    blank = ids[_has_blanks(ids)]
    if len(blank):
        alone = blank.index[blank.str.strip() == ""]
        table.frame.loc[alone, field] = None  # these are no ids: they count as missing
        _check_blanks(table.frame[field], table, path)


def _has_blanks(ids: pd.Series) -> pd.Series:
    return ids.notna() & (ids != ids.str.strip())


def _check_blanks(ids: pd.Series, table: AtomicTable, path: Path) -> None:
    blank = _has_blanks(ids)
    if not blank.any():
        return
    at = int(blank.to_numpy().argmax())
    row, value = int(ids.index[at]), ids.iloc[at]
    place = f"{path}, line {table.line_of(row)}, column {ids.name}: the id"
    if not value.strip():
        raise DataError(f"{place} is missing, as {value!r} holds blanks alone{_more(blank)}; remove them")
    raise DataError(
        f"{place} {value!r} has blanks around it, which would make it another id than {value.strip()!r}"
        f"{_more(blank)}; remove them"
    )


def _check_times(table: AtomicTable, path: Path, field: str) -> None:
    # the predictions hold whole seconds of 64 bits; the largest float64 below 2**63 is 2**63 - 1024
    large = table.frame[field].abs() >= 2.0**63
    if large.any():
        row = int(large.to_numpy().argmax())
        raise DataError(
            f"{path}, line {table.line_of(row)}, column {field}: the time {table.frame[field].iloc[row]:g} is too "
            f"large; seconds, as float64 keeps them, must be less than 2**63 (9.2e18) from 0{_more(large)}; "
            "correct it or leave it empty"
        )


def _check_numbers(table: AtomicTable, path: Path, field: str, why: str) -> None:
    if table.types[field] != "float":
        raise DataError(f"{path}: {field} {why} in the header, got {field}:{table.types[field]}")
    if rows := table.infinite.get(field):
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        raise DataError(
            f"{path}, line {table.line_of(rows[0])}, column {field}: the number is infinite{more}; correct it or "
            "remove the row"
        )


def _without_missing(table: AtomicTable, path: Path, fields: list[str], *, drop: bool) -> pd.DataFrame:
    missing = table.frame[fields].isna()
    if not missing.any(axis=None):
        return table.frame
    counts = ", ".join(f"{int(missing[field].sum())} without {field}" for field in fields if missing[field].any())
    rows = missing.any(axis=1)
    row = int(rows.to_numpy().argmax())
    place = f"{path}: {counts}, of {len(rows)} rows, the first in line {table.line_of(row)}"
    if not drop:
        remedy = "set `drop_missing: True` to leave such rows out" if path.suffix == ".inter" else "remove them"
        raise DataError(f"{place}; add the values, or {remedy}")
    getLogger().warning(f"{place}; these {int(rows.sum())} rows are left out (drop_missing)")
    return table.frame[~rows].reset_index(drop=True)


def _check_binary(frame: pd.DataFrame, path: Path, label: str) -> None:
    values = sorted(frame[label].unique())
    if set(values) <= {0.0, 1.0}:
        return
    shown = ", ".join(f"{value:g}" for value in values[:8])
    found = shown if len(values) <= 8 else f"{shown}, ... up to {values[-1]:g}"
    raise DataError(
        f"{path}: the label {label} must be 0 or 1, but its {len(values)} values are {found}; set threshold, for "
        f"example `threshold: {{{label}: {values[-1]:g}}}` makes rows from {values[-1]:g} on positive"
    )


def _more(rows: pd.Series) -> str:
    return f" ({int(rows.sum()) - 1} more rows are like that)" if rows.sum() > 1 else ""

"""Rejects rows that cannot be trained on, by line, or drops and counts them if ``drop_missing`` is set."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.atomic_reader import AtomicTable
from recbole_clickprompt.settings.values import Settings

__all__ = ["check_aliases", "check_entities", "check_interactions"]


def check_interactions(table: AtomicTable, path: Path, config: Settings, *, by_time: bool) -> pd.DataFrame:
    """Checks the rows of an ``.inter`` file: users, items, labels and, if rows are ordered by time, times.

    Args:
        table: Content of the file.
        path: The file.
        config: Settings of the run.
        by_time: Whether the rows are split by their time.

    Returns:
        All rows; with ``drop_missing``, only complete rows, and a warning reports how many were dropped.

    Raises:
        DataError: A field is missing or of a wrong type, a label or time is infinite, a time exceeds 64 bits, a
            label is not 0 or 1, an id is surrounded by blanks, or a row is incomplete and ``drop_missing`` is
            False.
    """
    user, item, time = (config[f"{name}_FIELD"] for name in ("USER_ID", "ITEM_ID", "TIME"))
    _check_id(table, path, "USER_ID_FIELD", user)
    _check_id(table, path, "ITEM_ID_FIELD", item)
    label = next(iter(config["threshold"] or ()), config["LABEL_FIELD"])
    needed = [user, item]
    if label in table.types:
        _check_numbers(table, path, label, f"is the label, so it must be {label}:float")
        needed.append(label)
    if by_time and time in table.types:
        _check_numbers(table, path, time, f"is the time by which rows are split, so it must be {time}:float")
        needed.append(time)
    if table.types.get(time) == "float":
        _check_times(table, path, time)
    frame = _without_missing(table, path, needed, drop=bool(config["drop_missing"]))
    if label in table.types and not config["threshold"]:
        _check_binary(frame, path, label)
    return frame


def check_entities(table: AtomicTable, path: Path, key: str) -> None:
    """Checks the ids of a ``.user`` or ``.item`` file, and warns about repeated ones.

    Args:
        table: Content of the file.
        path: The file.
        key: Field of the ids.

    Raises:
        DataError: The file has no rows or no such field, or an id is missing or surrounded by blanks.
    """
    _check_id(table, path, "USER_ID_FIELD" if path.suffix == ".user" else "ITEM_ID_FIELD", key)
    if table.frame.empty:
        raise DataError(f"{path} has no rows under its header; add them, or remove the file and its fields")
    _without_missing(table, path, [key], drop=False)
    repeated = table.frame[key].duplicated()
    if repeated.any():
        row = int(repeated.to_numpy().argmax())
        getLogger().warning(
            f"{path}: {int(repeated.sum())} rows repeat an id of an earlier row and are ignored; the first is line"
            f" {table.line_of(row)}, {table.frame[key].iloc[row]!r}"
        )


def check_aliases(table: AtomicTable, path: Path, config: Settings) -> None:
    """Checks fields that share the ids of users or items.

    Args:
        table: Content of the file.
        path: The file.
        config: Settings of the run; ``alias_of_user_id`` and ``alias_of_item_id`` name the fields.

    Raises:
        DataError: Such a field contains numbers, or an id in it is surrounded by blanks.
    """
    for setting in ("alias_of_user_id", "alias_of_item_id"):
        for field in table.types.keys() & set(config[setting] or ()):
            kind = table.types[field]
            if not kind.startswith("token"):
                raise DataError(
                    f"{path}: {setting} names {field!r}, so it contains ids and its header must be {field}:token"
                    f" or {field}:token_seq, got {field}:{kind}"
                )
            # Sequences are arrays; after explode, the index is still the row of each id
            _check_blanks(table.frame[field].explode() if kind == "token_seq" else table.frame[field], table, path)


def _check_id(table: AtomicTable, path: Path, setting: str, field: str) -> None:
    if field not in table.types:
        raise DataError(
            f"load_col or unload_col leaves out {field!r} of {path}, which {setting} names; loaded are "
            f"{', '.join(map(repr, table.types)) or 'none'}; add it to load_col"
        )
    if table.types[field] != "token":
        raise DataError(
            f"{path}: {field} contains ids, so its header must be {field}:token, got {field}:{table.types[field]}"
        )
    ids = table.frame[field]
    blank = ids[_has_blanks(ids)]
    if len(blank):
        empty = blank.index[blank.str.strip() == ""]
        table.frame.loc[empty, field] = None  # ids of blanks only count as missing
        _check_blanks(table.frame[field], table, path)


def _has_blanks(ids: pd.Series) -> pd.Series:
    return ids.notna() & (ids != ids.str.strip())


def _check_blanks(ids: pd.Series, table: AtomicTable, path: Path) -> None:
    blank = _has_blanks(ids)
    if not blank.any():
        return
    first = int(blank.to_numpy().argmax())
    row, value = int(ids.index[first]), ids.iloc[first]
    place = f"{path}, line {table.line_of(row)}, column {ids.name}: the id"
    if not value.strip():
        raise DataError(f"{place} is missing, as {value!r} contains only blanks{_more(blank)}; remove them")
    raise DataError(
        f"{place} {value!r} is surrounded by blanks, which makes it a different id from {value.strip()!r}"
        f"{_more(blank)}; remove them"
    )


def _check_times(table: AtomicTable, path: Path, field: str) -> None:
    # Predictions store whole seconds as int64; the largest float64 below 2**63 is 2**63 - 1024
    large = table.frame[field].abs() >= 2.0**63
    if large.any():
        row = int(large.to_numpy().argmax())
        raise DataError(
            f"{path}, line {table.line_of(row)}, column {field}: the time {table.frame[field].iloc[row]:g} is too "
            f"large; the absolute value must be less than 2**63 (9.2e18){_more(large)}; correct it or leave it "
            "empty"
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
    place = f"{path}: {counts}, of {len(rows)} rows; the first is in line {table.line_of(row)}"
    if not drop:
        remedy = "set `drop_missing: True` to drop such rows" if path.suffix == ".inter" else "remove them"
        raise DataError(f"{place}; add the values, or {remedy}")
    getLogger().warning(f"{place}; these {int(rows.sum())} rows are dropped (drop_missing)")
    return table.frame[~rows].reset_index(drop=True)


def _check_binary(frame: pd.DataFrame, path: Path, label: str) -> None:
    values = sorted(frame[label].unique())
    if set(values) <= {0.0, 1.0}:
        return
    shown = ", ".join(f"{value:g}" for value in values[:8])
    found = shown if len(values) <= 8 else f"{shown}, ... up to {values[-1]:g}"
    raise DataError(
        f"{path}: the label {label} must be 0 or 1, but its {len(values)} values are {found}; set threshold, for "
        f"example `threshold: {{{label}: {values[-1]:g}}}` for rows from {values[-1]:g} upwards to be positive"
    )


def _more(rows: pd.Series) -> str:
    return f" ({int(rows.sum()) - 1} more rows are like that)" if rows.sum() > 1 else ""

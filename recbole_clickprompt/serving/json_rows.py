"""Rows in the body of a request: ``{"rows": [{"user_id": "1", "item_id": "2"}, ...]}``."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

import pyarrow as pa

from recbole_clickprompt.errors import DataError

__all__ = ["parse_rows"]


def parse_rows(body: bytes) -> pa.Table:
    """The rows of a request; a column that a row lacks is missing there.

    Raises:
        DataError: The body is not JSON, does not have the form above, or has a key twice in an object, or a column
            mixes types.
    """
    rows = _rows(body)
    names = dict.fromkeys(name for row in rows for name in row)
    if not names:
        raise DataError("the rows have no columns; a row needs at least a user and an item")
    columns = {}
    for name in sorted(names):
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # which Arrow cannot store
            raise DataError(f"the name of the column {name!r} is no text: it holds half a surrogate pair")
        values = [row.get(name) for row in rows]
        if isinstance(found := next((v for v in values if isinstance(v, dict)), None), dict):
            raise DataError(f"{name!r} must be a text, a number, true, false, null or a list, got {_short(found)}")
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise DataError(
                f"{name!r} has values of several types, or a number that is too large: {_line(error)}"
            ) from error
    return pa.table(columns)


def _rows(body: bytes) -> list[dict[str, Any]]:
    try:
        content = json.loads(body, parse_constant=_refuse, object_pairs_hook=_object)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"the body is not JSON: {_line(error)}") from error
    form = 'the body must be {"rows": [{"user_id": ..., "item_id": ...}, ...]}'
    if not isinstance(content, dict) or set(content) != {"rows"}:
        raise DataError(f"{form}, got {_short(content)}")
    rows = content["rows"]
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{form} with one or more rows, got {_short(rows)}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{form}; row {number} is {_short(row)}")
    return rows


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise DataError(f"the key {twice!r} is twice in one object; remove one")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON; use null for a missing one")


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]

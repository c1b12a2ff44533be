"""The columns of an atomic file as RecBole keeps them: sequences as arrays, fields by the names that it uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.atomic import read_atomic

__all__ = ["read_features"]


def read_features(
    path: Path, source: str, config: Any, *, wanted: Callable[[str], bool]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Reads an atomic file as ``rename_fields``, ``unsplit_fields``, ``seq_separator`` and ``seq_len`` say.

    Args:
        path: The file.
        source: Its key in ``rename_fields``, such as ``inter``.
        config: RecBole's.
        wanted: Whether to read a field, by its new name.

    Returns:
        The table and the type of each field, which for an unsplit one is ``token``.

    Raises:
        DataError: The file cannot be read, or a sequence of numbers holds something else.
    """
    names = (config["rename_fields"] or {}).get(source, {})
    table, types = read_atomic(
        path,
        separator=config["field_separator"],
        encoding=config["encoding"] or "utf-8",
        wanted=lambda field: wanted(names.get(field, field)),
    )
    table, types = table.rename(columns=names), {names.get(field, field): kind for field, kind in types.items()}
    for field, kind in types.items():
        if kind == "token_seq" and field in (config["unsplit_fields"] or ()):
            words = table[field].fillna("").str.split().map(" ".join)
            table[field], types[field] = words.where(words != "", None), "token"
        elif kind.endswith("_seq"):
            table[field] = pd.Series(_sequences(table[field].fillna(""), field, kind, config), index=table.index)
    return table, types


def _sequences(values: pd.Series, field: str, kind: str, config: Any) -> list[np.ndarray]:
    # split("\x20") as RecBole does, and not at every white space
    separator, dtype = config["seq_separator"], float if kind == "float_seq" else object
    length = (config["seq_len"] or {}).get(field)
    try:
        return [np.array(list(filter(None, v.split(separator)))[:length], dtype=dtype) for v in values]
    except ValueError as error:
        raise DataError(f"field {field} of {config['dataset']} is no sequence of numbers: {error}") from error

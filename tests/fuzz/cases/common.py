"""Mutations of a file in the working folder, by its kind, and what several judges need."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from tests.fuzz.mutators import ODD_VALUES, mutate_bytes, mutate_lines, mutate_tree

COLUMN_TYPES = ["float64", "float32", "int64", "str", "bool", "category", "datetime64[ns]", "object"]


def edit_bytes(path: Path, rng: Random) -> str:
    """Changes bytes of a file; says how."""
    data, what = mutate_bytes(path.read_bytes(), rng)
    path.write_bytes(data)
    return f"{path.name}: {what}"


def edit_lines(path: Path, separator: str, rng: Random) -> str:
    """Changes lines or cells of a text file, or bytes of it; says how."""
    packed = path.suffix == ".gz"
    if rng.random() < 0.2:
        return edit_bytes(path, rng)
    data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    if rng.random() < 0.15:
        data, what = mutate_bytes(data, rng)
    else:
        text, what = mutate_lines(data.decode(), separator, rng)
        data = text.encode("utf-16" if what.startswith("utf-16") else "utf-8")
    path.write_bytes(gzip.compress(data) if packed else data)
    return f"{path.name}: {what}"


def edit_json(path: Path, rng: Random) -> tuple[str, tuple[Any, ...]]:
    """Changes one node of a JSON document, or bytes of it; says how, and which node."""
    if rng.random() < 0.2:
        return edit_bytes(path, rng), ()
    tree, what, node = mutate_tree(json.loads(path.read_text(encoding="utf-8")), rng)
    path.write_text(json.dumps(tree), encoding="utf-8")
    return f"{path.name}: {what}", node


def edit_parquet(path: Path, rng: Random) -> str:
    """Changes a column, a cell or a row of a parquet file, or bytes of it; says how."""
    if rng.random() < 0.25:
        return edit_bytes(path, rng)
    table = pd.read_parquet(path)
    column = rng.choice(list(table.columns))
    row = rng.randrange(len(table))
    kind = rng.choice(
        ["cell", "cell", "cell", "type", "type", "drop", "rename", "rows", "order", "null", "none", "odd"]
    )
    if kind == "cell":
        values = table[column].astype(object)
        values.iloc[row] = odd = rng.choice(
            [math.nan, None, -1, 2, 1e308, math.inf, "", "x", "x" * 300, True, "NaN"]
        )
        table[column] = values
        what = f"{column}, row {row}: {odd!r:.30}"
    elif kind == "type":
        kind = rng.choice(COLUMN_TYPES)
        table[column] = table[column].astype(kind, errors="ignore")
        what = f"{column} as {kind}"
    elif kind in ("drop", "rename"):
        table = table.drop(columns=column) if kind == "drop" else table.rename(columns={column: f"{column} "})
        what = f"{kind} {column}"
    elif kind == "odd":
        table[column] = [[1, 2]] * len(table) if rng.random() < 0.5 else [{"a": 1}] * len(table)
        what = f"{column}: lists or mappings"
    else:
        if kind in ("null", "none"):
            table[column] = None
        what = f"{kind}, {column}"
        table = {"rows": pd.concat([table, table[row : row + 1]]), "order": table[::-1], "none": table[:0]}.get(
            kind, table
        )
    try:
        table.to_parquet(path)
    except Exception:  # pyarrow cannot write such a column: as text
        table[column] = table[column].astype(str)
        table.to_parquet(path)
    return f"{path.name}: {what}"


def read_cells(path: Path, separator: str) -> list[list[str]] | None:
    """The header and the rows of a text table by Python's csv module; None where it does not take it."""
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row]
    except (ValueError, csv.Error, OSError, EOFError):
        return None
    return rows if rows and all(len(row) == len(rows[0]) for row in rows) else None


def odd_tensors(tensor: Any) -> list[Any]:
    """Values in the place of a tensor: of other shapes, types and contents, and no tensors."""
    import torch

    return [
        tensor.double(), tensor.half(), tensor.to(torch.int64), tensor * float("nan"), tensor.flatten(),
        tensor[None],
        tensor[:0] if tensor.ndim else tensor[None], torch.zeros(0), tensor.to(torch.complex64), torch.ones(3, 5),
        torch.cat([tensor.flatten(), tensor.flatten()]), *ODD_VALUES[:20],
    ]  # fmt: skip

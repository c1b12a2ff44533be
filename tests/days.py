"""Data sets of consecutive days: each has all rows of the earlier ones, and other ids for the same values."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
TINY = ROOT / "dataset_atomic" / "tiny"
# Settings that read all kinds of fields; text of users that later rows do not change
SETTINGS = {
    "data_path": "data", "numerical_features": ["year"], "normalize_field": ["year"], "user_knowledge": "static",
}  # fmt: skip
_FIRST_DAY, _FIRST_IDS = 400, 50  # rows; users and items below this number are those of the first day


def write_day(name: str, rows: int = 0, *, reverse: bool = False) -> None:
    """A part of ``tiny`` as the data set ``name`` in ``data``, with its property file.

    Args:
        name: Of the data set.
        rows: Number of rows, by time, after those of the first day.
        reverse: Write the files from their ends, so that the same values get other ids.
    """
    folder = Path("data") / name
    folder.mkdir(parents=True)
    order = -1 if reverse else 1
    inter = pd.read_csv(TINY / "tiny.inter", sep="\t", dtype=str)
    inter = inter.sort_values("timestamp:float", kind="stable", ignore_index=True)
    numbers = inter[["user_id:token", "item_id:token"]].map(lambda token: int(token[1:]))
    first = (inter.index < _FIRST_DAY) & (numbers < _FIRST_IDS).all(axis=1)
    later = (inter.index >= _FIRST_DAY) & (inter.index < _FIRST_DAY + rows)
    inter = inter[first | later]
    inter[::order].to_csv(folder / f"{name}.inter", sep="\t", index=False)
    for kind in ("user", "item"):
        table = pd.read_csv(TINY / f"tiny.{kind}", sep="\t", dtype=str)
        used = table[table[f"{kind}_id:token"].isin(inter[f"{kind}_id:token"])]
        used[::order].to_csv(folder / f"{name}.{kind}", sep="\t", index=False)
    properties = Path("props") / "dataset"
    properties.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "props" / "dataset" / "tiny.yaml", properties / f"{name}.yaml")

"""Synthetic clicks of any size, as atomic files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["write_synthetic"]

_WORDS = ("Silent", "Golden", "River", "Garden", "Winter", "Road", "House", "Letter", "Island", "Summer")


def write_synthetic(folder: Path, *, items: int, rows: int) -> dict[str, Any]:
    """Writes a data set with a tenth as many users as items, in a folder named ``synthetic``.

    Args:
        folder: The ``data_path``.
        items: Number of items, each with a title.
        rows: Number of clicks; users, items and labels are drawn uniformly.

    Returns:
        Settings that load it.
    """
    import polars as pl

    draw = np.random.default_rng(0)
    target = folder / "synthetic"
    target.mkdir(parents=True)
    clicks = {
        "user_id:token": draw.integers(max(items // 10, 2), size=rows),
        "item_id:token": draw.integers(items, size=rows),
        "label:float": draw.integers(2, size=rows),
        "timestamp:float": np.arange(rows),
    }
    pl.DataFrame(clicks).write_csv(target / "synthetic.inter", separator="\t")
    first, second = (draw.integers(len(_WORDS), size=items) for _ in range(2))
    titles = [f"{_WORDS[a]} {_WORDS[b]} {i}" for i, (a, b) in enumerate(zip(first, second, strict=True))]
    pl.DataFrame({"item_id:token": np.arange(items), "title:token_seq": titles}).write_csv(
        target / "synthetic.item", separator="\t"
    )
    return {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "label", "timestamp"], "item": ["item_id", "title"]},
        "unused_col": {"inter": ["timestamp"]},
        "whole_text_fields": ["title"],
        "text_fields": {"user_id": "user ID", "item_id": "item ID", "title": "title"},
    }

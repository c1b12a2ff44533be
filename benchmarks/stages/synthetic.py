"""Made-up clicks of any size, as atomic files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["write_synthetic"]

_WORDS = ("Silent", "Golden", "River", "Garden", "Winter", "Road", "House", "Letter", "Island", "Summer")


def write_synthetic(folder: Path, *, items: int, rows: int) -> dict[str, Any]:
    """Writes ``rows`` clicks on ``items`` titled items by a tenth as many users.

    Args:
        folder: Where data sets lie; this one is called ``synthetic``.
        items: Every one is in the item file, whether clicked or not.
        rows: Users, items and labels are drawn uniformly.

    Returns:
        Settings with which it is read.
    """
    import polars as pl

    draw = np.random.default_rng(0)
    place = folder / "synthetic"
    place.mkdir(parents=True)
    clicks = {
        "user_id:token": draw.integers(max(items // 10, 2), size=rows),
        "item_id:token": draw.integers(items, size=rows),
        "label:float": draw.integers(2, size=rows),
        "timestamp:float": np.arange(rows),
    }
    pl.DataFrame(clicks).write_csv(place / "synthetic.inter", separator="\t")
    first, second = (draw.integers(len(_WORDS), size=items) for _ in range(2))
    titles = [f"{_WORDS[a]} {_WORDS[b]} {i}" for i, (a, b) in enumerate(zip(first, second, strict=True))]
    pl.DataFrame({"item_id:token": np.arange(items), "title:token_seq": titles}).write_csv(
        place / "synthetic.item", separator="\t"
    )
    return {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "label", "timestamp"], "item": ["item_id", "title"]},
        "unused_col": {"inter": ["timestamp"]},
        "whole_text_fields": ["title"],
        "text_fields": {"user_id": "user ID", "item_id": "item ID", "title": "title"},
    }

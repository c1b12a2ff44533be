"""The rows of all parts of a split data set, in the order of the file again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from recbole_clickprompt.trainer.sampling import sampled_rows

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["ROW", "TIME", "SplitRows"]

# Hidden columns; no field's name can hold a colon
ROW, TIME = "row:file", "time:file"  # go through the split with the rows, and never into a batch


class SplitRows:
    """N rows of training, validation and test part, by their place in the file.

    Args:
        parts: With the columns ``ROW``, which is removed, and, unless ``history_order`` is ``file``, ``TIME``.

    Attributes:
        part_of: Number of the part of each row, ``(N,)``.
        known: Rows whose labels the run may use, ``(N,)``: with ``train_rows``, the other training rows are none.
    """

    def __init__(self, parts: Sequence[TextDataset]) -> None:
        self._parts, config = parts, parts[0].config
        rows = torch.cat([part.inter_feat.interaction.pop(ROW) for part in parts]).numpy()
        self._place = np.argsort(rows)  # of each row of the file among those of all parts
        self._by_file = np.empty_like(self._place)
        self._by_file[self._place] = np.arange(len(self._place))  # of each row of all parts, its place in the file
        self._starts = np.cumsum([0, *map(len, parts)])
        self.part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[self._place]
        self.known = np.ones(len(rows), dtype=bool)
        if config["train_rows"] is not None:
            self.known[: len(parts[0])] = False
            self.known[sampled_rows(config, len(parts[0]), "train_rows").numpy()] = True
            self.known = self.known[self._place]

    def column(self, name: str) -> np.ndarray:
        """A column of all rows, ``(N,)``."""
        return torch.cat([part.inter_feat[name] for part in self._parts]).numpy()[self._place]

    def times(self) -> np.ndarray | None:
        """Times of all rows, ``(N,)``; None if ``history_order: file`` says that the file is in order."""
        return None if self._parts[0].config["history_order"] == "file" else self.column(TIME)

    def of_part(self, number: int) -> np.ndarray:
        """Places in the file of the rows of a part, ``(rows,)``."""
        return self._by_file[self._starts[number] : self._starts[number + 1]]

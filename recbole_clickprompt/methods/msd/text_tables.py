"""Vectors of the texts of items and users: which are read from tables, and when tables are computed again.

Letters: A width of an adapted vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.methods.msd.level import Level, Rows
from recbole_clickprompt.methods.msd.student_vectors import StudentVectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TextTables"]


class TextTables(nn.Module):
    """The levels of texts and the student that reads them.

    Each level has a table of the student's vectors, for training, and one of adapted vectors, for evaluation and
    serving. Both are saved; neither is learned::

        training     some texts: student with gradient ──> adaptor          the others: table ──> adaptor
        evaluation   table of adapted vectors, computed from the current weights before the first row

    Args:
        student: Reads texts.
        levels: By name, ``item`` and, if users have texts, ``user``.
    """

    def __init__(self, student: StudentVectors, levels: Mapping[str, Level]) -> None:
        super().__init__()
        self.student = student
        self.levels = nn.ModuleDict(levels)
        self.is_current: Tensor  # whether the adapted vectors are those of the weights
        self.register_buffer("is_current", torch.zeros((), dtype=torch.bool))
        self._refreshed = False  # whether the student's vectors are those of the weights
        self.register_load_state_dict_post_hook(lambda module, _: module._forget())

    def named_levels(self) -> dict[str, Level]:
        """The levels by name."""
        return cast("dict[str, Level]", dict(self.levels.items()))

    def _forget(self) -> None:
        """Loaded weights have other vectors; whether the loaded adapted ones are current has been loaded too."""
        self._refreshed = False

    def refresh(self) -> None:
        """Computes the student's vectors of all texts, unless they are those of the current weights."""
        if not self._refreshed:
            for level in self.named_levels().values():
                self.student.refresh(level)
            self._refreshed = True

    def update(self) -> None:
        """Computes the adapted vectors of all ids, unless they are those of the current weights."""
        if not self.is_current:
            self.refresh()
            for level in self.named_levels().values():
                level.adapt()
            self.is_current.fill_(True)

    def before_step(self) -> None:
        """To be called before weights change: what is stored will then be that of earlier weights."""
        self.is_current.fill_(False)
        if not all(len(level.vectors.rows) for level in self.named_levels().values()):
            self.refresh()
        if self.student.is_trained():
            self._refreshed = False

    def stored(self, name: str, ids: Tensor) -> Rows:
        """Adapted vectors of a level's ids of any shape, from the table of ``update``.

        Raises:
            WeightsError: The model was saved without it.
        """
        level = self.named_levels()[name]
        if not len(level.adapted.rows):
            raise WeightsError(f"the model has no vectors of {name}s: it was saved before they were computed")
        return level.stored(ids)

    def training_rows(self, name: str, ids: Tensor, *, trained: bool) -> Rows:
        """Adapted vectors of ids of any shape in training; ``trained``: with gradients into the student."""
        level = self.named_levels()[name]
        return self.computed(name, ids) if trained and self.student.is_trained() else level.from_vectors(ids)

    def computed(self, name: str, ids: Tensor) -> Rows:
        """Adapted vectors of ids of any shape, from their texts alone, each distinct text read once."""
        return self.student.encoded(self.named_levels()[name], ids)

    @torch.no_grad()
    def of_texts(self, name: str, texts: Sequence[str]) -> Tensor:
        """Adapted vectors of any texts of a level, ``(len(texts), A)`` float32."""
        return self.named_levels()[name].adaptor(self.student.of_texts(name, texts))

    def hash(self) -> str:
        """A hash of all weights that vectors depend on, in hexadecimal."""
        return self.student.hash_with([level.adaptor for level in self.named_levels().values()])

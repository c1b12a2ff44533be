"""The interface of models that read a vector per user or item, made of its text alone.

Letters: B rows of a batch, A width of an adapted vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["LEVELS", "EncodesTexts", "answered_levels", "encoded_levels", "vector_column"]

LEVELS = ("user", "item")  # what a text can describe


@runtime_checkable
class EncodesTexts(Protocol):
    """A ``protocols.CTRModel`` that reads a vector per user or item, made of its text alone.

    Vectors of the users and items of training are part of the model, by id. In serving, rows with others have a
    column of vectors, ``vector_column(level)``, ``(B, A)`` float32, on the model's device. ``forward`` uses the
    column if a batch has it (``name in batch.interaction``), and its own vectors by id if not::

        rows, unseen item with text   -> item_vector (B, A) from encode_texts or a cache
        rows, known item              -> no column; the model's own vectors by id
        rows, unseen item, no text    -> no column; id 0

    A batch has the column for all of its rows or for none.

    Attributes:
        vector_widths: A by level, ``user`` or ``item``; a level that the model does not read is left out.
    """

    vector_widths: Mapping[str, int]

    def encode_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """The vectors of some texts; computed without gradient, in evaluation mode and outside of autocast.

        Args:
            level: ``user`` or ``item``.
            texts: Sentences such as ``"title is Se7en. genre is Crime."``, of the fields of the level in
                ``text_fields``, without the id; or a text that the caller wrote.

        Returns:
            ``(len(texts), A)`` float32. A text has the same vector in any company, but for rounding.
        """

    def vectors_hash(self) -> str:
        """A hash of all weights that ``encode_texts`` depends on: caches never mix the vectors of two models."""


def encoded_levels(model: object) -> list[str]:
    """The levels whose texts a model encodes; empty for most models."""
    return [level for level in LEVELS if level in model.vector_widths] if isinstance(model, EncodesTexts) else []


def answered_levels(model: object) -> frozenset[str]:
    """Levels whose texts had a teacher's answers in training: a model's ``answered_levels``, if it has some."""
    return getattr(model, "answered_levels", frozenset())


def vector_column(level: str) -> str:
    """Name of the column of vectors of a level."""
    return f"{level}_vector"

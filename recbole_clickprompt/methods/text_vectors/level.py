"""A level of texts, items or users: the vector of each text, and the adapted vectors that a CTR model reads.

Letters: U distinct texts of the level, W width of a text's vector, A width of an adapted vector.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from recbole_clickprompt.methods.text_vectors.adaptors import Standardized
from recbole_clickprompt.methods.text_vectors.kept_texts import HASH_SIZE

__all__ = ["DistinctTexts", "Level", "Rows", "VectorTable"]


class DistinctTexts(Protocol):
    """The distinct texts of a level.

    Attributes:
        index: The text of each id, ``(ids,)`` int64.
    """

    index: Tensor

    def __len__(self) -> int:
        """U."""


class Rows(NamedTuple):
    """Adapted vectors, and which of them a batch reads.

    Attributes:
        vectors: ``(rows, A)``.
        places: Rows of ``vectors``, in any shape.
    """

    vectors: Tensor
    places: Tensor

    def read(self) -> Tensor:
        """The vectors at the places, ``(..., A)``."""
        return nn.functional.embedding(self.places, self.vectors)


class VectorTable(nn.Module):
    """Vectors that are computed, not learned, and saved with the model. Empty at first.

    Args:
        width: Of a vector.
        ids: A saved table that is not empty has at least this many rows; 0 if any number fits.
        persistent: Whether it is saved with the model; if not, it is computed again.

    Attributes:
        rows: ``(rows, width)`` float32.
    """

    def __init__(self, width: int, *, ids: int = 0, persistent: bool = True) -> None:
        super().__init__()
        self.ids = ids
        self.rows: Tensor
        self.register_buffer("rows", torch.zeros(0, width), persistent=persistent)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.get(f"{prefix}rows")
        if isinstance(saved, Tensor) and saved.ndim == 2 and (len(saved) >= self.ids or not len(saved)):
            # Of a table of another width, torch reports the shapes
            self.rows = self.rows.new_zeros(len(saved), self.rows.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Level(nn.Module):
    """The texts of a level and their vectors::

        id ──index──> text ──reader──> vectors (U, W) ──adaptor──> adapted (ids, A)
                                       refreshed in training       for evaluation and serving

    Args:
        name: ``item`` or ``user``.
        texts: None in serving, where only the adapted vectors are needed.
        ids: Number of ids in serving: those of items or users.
        adaptor: From W to A.
        out: A.
        saves_vectors: Whether the vectors of texts are saved with the model, not only the adapted ones.
    """

    def __init__(
        self,
        name: str,
        texts: DistinctTexts | None,
        *,
        ids: int,
        adaptor: Standardized,
        out: int,
        saves_vectors: bool = True,
    ) -> None:
        super().__init__()
        self.name, self.texts = name, texts
        self.adaptor = adaptor
        self.vectors = VectorTable(adaptor.width, persistent=saves_vectors)
        self.adapted = VectorTable(out, ids=ids)
        self.text_hashes: Tensor  # of the texts whose vectors there are, if these are saved
        self.register_buffer("text_hashes", _no_hashes(), persistent=saves_vectors)
        self._saves_vectors = saves_vectors
        self.index: Tensor
        index = torch.zeros(0, dtype=torch.int64) if texts is None else texts.index
        self.register_buffer("index", index, persistent=False)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        if self._saves_vectors:
            hashes = state_dict.setdefault(f"{prefix}text_hashes", _no_hashes())  # earlier versions had none
            if hashes.ndim == 2:
                self.text_hashes = self.text_hashes.new_zeros(len(hashes), HASH_SIZE)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def table_rows(self) -> dict[str, None]:
        """Nothing of it is copied: texts are read again, or found by their hashes; see ``HasTableRows``."""
        return dict.fromkeys(("vectors.rows", "adapted.rows", "text_hashes"))

    @torch.no_grad()
    def adapt(self) -> None:
        """Computes the adapted vectors of all ids from the vectors of the texts."""
        self.adapted.rows = self.adaptor(self.vectors.rows)[self.index]

    def stored(self, ids: Tensor) -> Rows:
        """Adapted vectors of ids of any shape, from the table."""
        return Rows(self.adapted.rows, ids)

    def from_vectors(self, ids: Tensor) -> Rows:
        """Adapted vectors of ids of any shape, from those of their texts; gradients reach the adaptor alone."""
        texts, places = torch.unique(self.index[ids], return_inverse=True)
        return Rows(self.adaptor(self.vectors.rows[texts]), places)


def _no_hashes() -> Tensor:
    return torch.zeros(0, HASH_SIZE, dtype=torch.uint8)

"""Vectors of the texts of items and users: which are read from tables, and when tables are computed again.

Letters: A width of an adapted vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.methods.text_vectors.level import Level, Rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TextReader", "TextTables", "hash_weights"]


class TextReader(Protocol):
    """Makes vectors of texts, such as a language model."""

    def is_trained(self) -> bool:
        """Whether any weight is trained."""

    def refresh(self, level: Level) -> None:
        """Computes ``level.vectors`` from all of the level's texts, by all processes together."""

    def of_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """Vectors of any texts of a level, ``(N, W)`` float32, without gradient."""

    def hash_with(self, others: Iterable[nn.Module]) -> str:
        """A hash of all weights and of the weights of other modules, in hexadecimal."""


class TextTables(nn.Module):
    """The levels of texts and what reads them; subclasses provide ``reader``.

    Each level has a table of the reader's vectors, for training, and one of adapted vectors, for evaluation and
    serving. The second one is saved, and the first one unless a level leaves it out; neither is learned::

        training     some texts: reader with gradient ──> adaptor           the others: table ──> adaptor
        evaluation   table of adapted vectors, computed from the current weights before the first row

    Args:
        levels: By name, ``item`` and, if users have texts, ``user``.
    """

    def __init__(self, levels: Mapping[str, Level]) -> None:
        super().__init__()
        self.levels = nn.ModuleDict(levels)
        self.is_current: Tensor  # whether the adapted vectors are those of the weights
        self.register_buffer("is_current", torch.zeros((), dtype=torch.bool))
        self._refreshed = False  # whether the reader's vectors are those of the weights
        self.register_load_state_dict_post_hook(lambda module, _: module._forget())

    @property
    def reader(self) -> TextReader:
        """Reads texts."""
        raise NotImplementedError

    def named_levels(self) -> dict[str, Level]:
        """The levels by name."""
        return cast("dict[str, Level]", dict(self.levels.items()))

    def table_rows(self) -> dict[str, None]:
        """Adapted vectors are computed again; see ``HasTableRows``."""
        return {"is_current": None}

    def _forget(self) -> None:
        """Loaded weights have other vectors; whether the loaded adapted ones are current has been loaded too."""
        self._refreshed = False

    def refresh(self) -> None:
        """Computes the reader's vectors of all texts, unless they are those of the current weights."""
        if not self._refreshed:
            for level in self.named_levels().values():
                self.reader.refresh(level)
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
        if self.reader.is_trained():
            self._refreshed = False

    def standardize(self, ids: Mapping[str, Tensor]) -> None:
        """Sets the scale of the vectors that adaptors read.

        Args:
            ids: By level, those whose texts count.
        """
        for name, level in self.named_levels().items():
            texts = level.index[ids[name].long().to(level.index.device)].unique()
            level.adaptor.standardize(level.vectors.rows[texts])

    def stored(self, name: str, ids: Tensor) -> Rows:
        """Adapted vectors of a level's ids of any shape, from the table of ``update``.

        Raises:
            WeightsError: The model was saved without it.
        """
        level = self.named_levels()[name]
        if not len(level.adapted.rows):
            raise WeightsError(f"the model has no vectors of {name}s: it was saved before they were computed")
        return level.stored(ids)

    @torch.no_grad()
    def of_texts(self, name: str, texts: Sequence[str]) -> Tensor:
        """Adapted vectors of any texts of a level, ``(len(texts), A)`` float32."""
        return self.named_levels()[name].adaptor(self.reader.of_texts(name, texts))

    def hash(self) -> str:
        """A hash of all weights that vectors depend on, in hexadecimal."""
        return self.reader.hash_with([level.adaptor for level in self.named_levels().values()])


def hash_weights(start: str, modules: Iterable[nn.Module]) -> str:
    """A hash of the weights of modules, in hexadecimal; ``start`` stands for all else."""
    digest = hashlib.sha256(start.encode())
    for module in modules:
        for name, weight in module.state_dict().items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

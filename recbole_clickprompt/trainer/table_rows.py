"""Which tensors of a model belong to ids, and where their rows are when the same values have other ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd
import torch
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.layers import FMFirstOrderLinear
from torch import Tensor, nn

from recbole_clickprompt.backbones.unseen import token_embedding_tables
from recbole_clickprompt.preprocessing.encoding import Encoding
from recbole_clickprompt.trainer.protocols import HasTableRows

if TYPE_CHECKING:
    from recbole_clickprompt.trainer.protocols import Module

__all__ = ["IdMap", "Rows", "backbones_of", "table_rows"]

# Fields whose ids the rows of a tensor are, one after the other; a number is so many rows that are no ids
Rows: TypeAlias = Sequence[str | int]


class IdMap:
    """Where the values of an earlier vocabulary are in a new one.

    Args:
        old: The earlier encoding.
        new: That of the present data set.

    Attributes:
        new_ids: By field, the new id of each old one, ``(old ids,)`` int64; -1 if the value is gone.
        sizes: By field, the number of new ids.
    """

    def __init__(self, old: Encoding, new: Encoding) -> None:
        self.new_ids = {
            name: torch.from_numpy(pd.Index(new.tokens[name]).get_indexer(pd.Index(tokens)).astype("int64"))
            for name, tokens in old.tokens.items()
        }
        self.sizes = {name: len(tokens) for name, tokens in new.tokens.items()}

    def is_identity(self, field: str) -> bool:
        """Whether every value has the id that it had, and there is no other."""
        ids = self.new_ids[field]
        return len(ids) == self.sizes[field] and torch.equal(ids, torch.arange(len(ids)))

    def gone(self, field: str) -> int:
        """Number of values that the new vocabulary lacks."""
        return int((self.new_ids[field] < 0).sum())

    def added(self, field: str) -> Tensor:
        """New ids of values that the old vocabulary lacks, ascending."""
        is_new = torch.ones(self.sizes[field], dtype=torch.bool)
        known = self.new_ids[field]
        is_new[known[known >= 0]] = False
        return is_new.nonzero().squeeze(1)

    def rows(self, rows: Rows) -> tuple[Tensor, int]:
        """Of a tensor with these rows, the new row of each old one (-1: gone), and the number of new rows."""
        parts, begin = [], 0
        for part in rows:
            ids, size = (
                (torch.arange(part), part) if isinstance(part, int) else (self.new_ids[part], self.sizes[part])
            )
            parts.append(torch.where(ids >= 0, ids + begin, ids))
            begin += size
        return torch.cat(parts), begin


def table_rows(model: Module) -> dict[str, Rows | None]:
    """The tensors of a model that depend on ids, by name in its ``state_dict``; see ``HasTableRows``."""
    found: dict[str, Rows | None] = {}
    for prefix, module in _modules(model):
        named: Mapping[str, Rows | None] = {}
        if isinstance(module, ContextRecommender | FMFirstOrderLinear):
            named = _of_recbole(module)
        elif isinstance(module, HasTableRows):
            named = module.table_rows()
        found |= {f"{prefix}{name}": rows for name, rows in named.items()}
    return found


def backbones_of(model: Module) -> list[ContextRecommender]:
    """RecBole's models within a model, each once."""
    found = {id(module): module for _, module in _modules(model) if isinstance(module, ContextRecommender)}
    return list(found.values())


def _modules(model: Module) -> list[tuple[str, nn.Module]]:
    # Shared modules have a name for each place, as in a ``state_dict``
    assert isinstance(model, nn.Module)
    return [(f"{name}." if name else "", module) for name, module in model.named_modules(remove_duplicate=False)]


def _of_recbole(model: ContextRecommender | FMFirstOrderLinear) -> dict[str, Rows]:
    """Of all tables, the fields with one id, field after field; the field with lists of ids; or no ids."""
    fused = {id(model.token_embedding_table.embedding)} if model.token_field_names else set()
    if isinstance(model, ContextRecommender) and model.token_field_names:
        fused = {id(table) for table in token_embedding_tables(model)}
    found: dict[str, Rows] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        *path, last = name.split(".")
        # The first-order terms have fields of their own: in DSSM they also read those of the context
        if not isinstance(module, nn.Embedding) or path[0] == "first_order_linear":
            continue
        if id(module) in fused:
            found[f"{name}.weight"] = tuple(model.token_field_names)
        elif any("token_seq" in part for part in path):
            found[f"{name}.weight"] = (model.token_seq_field_names[int(last)],)
        else:
            found[f"{name}.weight"] = (module.num_embeddings,)
    return found

"""Vectors of a row as further fields of a backbone: every interaction layer sees them like embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from torch import Tensor, nn

from recbole_clickprompt.backbones import WITHOUT_VECTORS
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["ColumnVectors", "ReadyVectors", "VectorSource", "with_vector_fields"]


class VectorSource(nn.Module):
    """Makes E vectors of the embeddings' width d for each row.

    Attributes:
        count: E.
    """

    count: int

    def forward(self, model: ContextRecommender, interaction: Interaction, embeddings: Tensor) -> Tensor:
        """
        Args:
            model: The backbone, whose embedding tables may be read.
            interaction: B rows.
            embeddings: Of their F fields, ``(B, F, d)``.

        Returns:
            ``(B, E, d)``.
        """
        raise NotImplementedError


class ColumnVectors(VectorSource):
    """Projects vectors that a batch has in a column.

    The column is added to each batch (``Interaction.update``) and not kept here: an attribute that outlives the
    call would keep the graph of the vectors alive.

    Args:
        column: Its name; it contains ``(B, E, width)``, or ``(B, width)`` for one vector per row.
        count: E.
        width: Of the vectors.
        embedding_size: d.
    """

    def __init__(self, column: str, *, count: int, width: int, embedding_size: int) -> None:
        super().__init__()
        self.column, self.count = column, count
        self.projection = nn.Linear(width, embedding_size)

    def forward(self, model: ContextRecommender, interaction: Interaction, embeddings: Tensor) -> Tensor:
        vectors = interaction[self.column]
        return self.projection(vectors.reshape(len(vectors), self.count, -1))


class ReadyVectors(VectorSource):
    """Vectors of the embeddings' width that a batch has in a column, as ``ColumnVectors`` without projection.

    Args:
        column: Its name; it contains ``(B, E, d)``.
        count: E.
    """

    def __init__(self, column: str, *, count: int) -> None:
        super().__init__()
        self.column, self.count = column, count

    def forward(self, model: ContextRecommender, interaction: Interaction, embeddings: Tensor) -> Tensor:
        return interaction[self.column]


class _VectorFields(ContextRecommender):
    """Comes between a model and ``ContextRecommender`` in the order of base classes.

    ::

        (B, F + E, d):   | field 1 | ... | field F | vector 1 | ... | vector E |

    First-order terms, which have one weight per value of a field, do not see the vectors.
    """

    make_sources: ClassVar[Callable[[ContextRecommender], Sequence[VectorSource]]]

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        sources = type(self).make_sources(self)
        self.vector_sources = nn.ModuleList(sources)
        # The class of the model sizes its layers by this number, after this call
        self.num_feature_field += sum(source.count for source in sources)

    def concat_embed_input_fields(self, interaction: Interaction) -> Tensor:
        """Embeddings of the fields, and then the vectors, ``(B, F + E, d)``."""
        embeddings = super().concat_embed_input_fields(interaction)
        vectors = [source(self, interaction, embeddings) for source in self.vector_sources]
        return torch.cat([embeddings, *vectors], dim=1)


def with_vector_fields(
    model: type[ContextRecommender], make_sources: Callable[[ContextRecommender], Sequence[VectorSource]]
) -> type[Any]:
    """A model's class whose instances also have vectors as fields.

    Args:
        model: A context-aware model that takes its input from ``concat_embed_input_fields`` alone.
        make_sources: Called with the instance when its embedding tables exist and its layers do not.

    Raises:
        SettingError: The model takes embeddings in another way.
    """
    if model.__name__ in WITHOUT_VECTORS:
        raise SettingError(f"{model.__name__} takes no vectors as fields; use another backbone")
    return type(model.__name__, (model, _VectorFields), {"make_sources": make_sources})

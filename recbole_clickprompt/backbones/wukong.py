"""WuKong: stacked factorization machines (Zhang et al., ICML 2024)."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor, nn
from torch.nn.init import xavier_normal_

from recbole_clickprompt.backbones.base import LogitModel
from recbole_clickprompt.settings.values import Settings

__all__ = ["FactorizationMachineBlock", "WuKong", "WuKongLayer"]


class _Compress(nn.Linear):
    """Linear compress block: weighted sums of embeddings.

    Args:
        inputs: Number of input embeddings.
        outputs: Number of output embeddings.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, d)`` to ``(B, outputs, d)``."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class FactorizationMachineBlock(nn.Module):
    """Dot products of embeddings, mapped to new embeddings by an MLP.

    Args:
        inputs: Number of input embeddings.
        outputs: Number of output embeddings.
        size: Width of an embedding, d.
        rank: Columns of the projection Y, which reduces the products ``X X^T``, ``(inputs, inputs)``, to
            ``(inputs, rank)``.
        hidden_sizes: Widths of the hidden layers of the MLP.
    """

    def __init__(self, *, inputs: int, outputs: int, size: int, rank: int, hidden_sizes: list[int]) -> None:
        super().__init__()
        self.projection = nn.Parameter(torch.empty(inputs, rank))
        xavier_normal_(self.projection)
        self.size = size
        sizes = [inputs * rank, *hidden_sizes]
        self.mlp = nn.Sequential(nn.LayerNorm(sizes[0]), MLPLayers(sizes), nn.Linear(sizes[-1], outputs * size))

    def products(self, x: Tensor) -> Tensor:
        """``X (X^T Y)``, ``(B, inputs, rank)``, of X, ``(B, inputs, d)``, without computing ``X X^T``."""
        return x @ (x.transpose(1, 2) @ self.projection)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, d)`` to ``(B, outputs, d)``."""
        return self.mlp(self.products(x).flatten(1)).unflatten(1, (-1, self.size))


class WuKongLayer(nn.Module):
    """``LayerNorm([FMB(X); LCB(X)] + X)``, X compressed if its number of embeddings differs.

    Args:
        inputs: Number of input embeddings.
        num_fm: Output embeddings of the factorization machine block (FMB).
        num_linear: Output embeddings of the linear compress block (LCB).
        size: Width of an embedding, d.
        rank: As for ``FactorizationMachineBlock``.
        hidden_sizes: As for ``FactorizationMachineBlock``.
    """

    def __init__(
        self, *, inputs: int, num_fm: int, num_linear: int, size: int, rank: int, hidden_sizes: list[int]
    ) -> None:
        super().__init__()
        outputs = num_fm + num_linear
        self.fm = FactorizationMachineBlock(
            inputs=inputs, outputs=num_fm, size=size, rank=rank, hidden_sizes=hidden_sizes
        )
        self.linear = _Compress(inputs, num_linear)
        self.residual = nn.Identity() if inputs == outputs else _Compress(inputs, outputs)
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, d)`` to ``(B, num_fm + num_linear, d)``."""
        return self.norm(torch.cat([self.fm(x), self.linear(x)], dim=1) + self.residual(x))


class WuKong(LogitModel):
    """Stacked layers, each of which doubles the order of interactions, and an MLP on the last one's outputs.

    q is the output of the MLP.

    Reads ``embedding_size``, ``n_layers``, ``num_fm``, ``num_linear``, ``low_rank``, ``fm_hidden_size``,
    ``mlp_hidden_size`` and ``dropout_prob`` from the config.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        outputs = config["num_fm"] + config["num_linear"]
        self.layers = nn.Sequential(
            *(
                WuKongLayer(
                    inputs=outputs if index else self.num_feature_field,
                    num_fm=config["num_fm"],
                    num_linear=config["num_linear"],
                    size=self.embedding_size,
                    rank=config["low_rank"],
                    hidden_sizes=config["fm_hidden_size"],
                )
                for index in range(config["n_layers"])
            )
        )
        sizes = [outputs * self.embedding_size, *config["mlp_hidden_size"]]
        self.mlp_layers = MLPLayers(sizes, config["dropout_prob"])
        self.predict_layer = nn.Linear(sizes[-1], 1)
        self.apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        embeddings = self.concat_embed_input_fields(interaction)  # (B, F, d)
        return self.predict_layer(self.mlp_layers(self.layers(embeddings).flatten(1))).squeeze(1)

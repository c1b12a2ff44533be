"""FinalMLP: two gated MLPs, fused bilinearly (Mao et al., AAAI 2023)."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.init import xavier_normal_initialization
from recbole.model.layers import MLPLayers
from torch import Tensor, nn
from torch.nn.init import xavier_normal_

from recbole_clickprompt.backbones.base import LogitModel, feature_names
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.settings.values import Settings

__all__ = ["BilinearFusion", "FeatureGate", "FinalMLP"]


class FeatureGate(nn.Module):
    """``2 * sigmoid(MLP(context)) * embeddings``: how much a stream uses each feature.

    Args:
        columns: Columns of the fields whose embeddings are the context; if empty, it is a learned vector.
        field_size: Width of an embedding, d.
        hidden_sizes: Widths of the hidden layers of the gate's MLP.
        output_size: Width of all embeddings of a row, F * d.
    """

    def __init__(self, *, columns: list[int], field_size: int, hidden_sizes: list[int], output_size: int) -> None:
        super().__init__()
        self.columns = columns
        self.context = None if columns else nn.Parameter(torch.zeros(field_size))
        sizes = [field_size * max(1, len(columns)), *hidden_sizes]
        self.gate = nn.Sequential(MLPLayers(sizes), nn.Linear(sizes[-1], output_size))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Gated embeddings, ``(B, F * d)``, of embeddings ``(B, F, d)``."""
        context = embeddings[:, self.columns].flatten(1) if self.context is None else self.context
        return 2 * torch.sigmoid(self.gate(context)) * embeddings.flatten(1)


class BilinearFusion(nn.Module):
    """Fuses both streams into a logit: ``b + w_1 o_1 + w_2 o_2 + o_1 W_3 o_2``.

    ``W_3`` is block-diagonal, with one block per head::

        o_1   | head 1 | head 2 |        products of equal heads only
        o_2   | head 1 | head 2 |

    Args:
        sizes: Widths of the streams.
        num_heads: Number of heads; it must divide both widths.

    Raises:
        SettingError: The heads do not divide a stream.
    """

    def __init__(self, *, sizes: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        if any(size % num_heads for size in sizes):
            raise SettingError(
                f"num_heads must divide the last entries of mlp1_hidden_size and mlp2_hidden_size, "
                f"{sizes[0]} and {sizes[1]}; got {num_heads}"
            )
        self.sizes, self.num_heads = sizes, num_heads
        self.linear = nn.Linear(sum(sizes), 1)
        self.weight = nn.Parameter(torch.empty(num_heads, sizes[0] // num_heads, sizes[1] // num_heads))
        for block in self.weight.data:
            xavier_normal_(block)

    def forward(self, streams: Tensor) -> Tensor:
        """Logits, ``(B,)``, of both streams concatenated, ``(B, sum(sizes))``."""
        # (B, heads, width / heads) each
        first, second = (o.unflatten(1, (self.num_heads, -1)) for o in streams.split(self.sizes, dim=1))
        return self.linear(streams).squeeze(1) + torch.einsum("bhx,hxy,bhy->b", first, self.weight, second)


class FinalMLP(LogitModel):
    """Two MLPs on the embeddings, each after a gate. q is the concatenation of their outputs.

    Reads ``embedding_size``, ``mlp1_hidden_size``, ``mlp2_hidden_size``, ``gate_hidden_size``, ``fs1_context``,
    ``fs2_context``, ``num_heads`` and ``dropout_prob`` from the config.

    Raises:
        SettingError: A context is not a field of the data set, or the heads do not divide a stream.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.gates = nn.ModuleList(
            FeatureGate(
                columns=self._columns(setting, config[setting]),
                field_size=self.embedding_size,
                hidden_sizes=config["gate_hidden_size"],
                output_size=self.flat_size,
            )
            for setting in ("fs1_context", "fs2_context")
        )
        hidden = [config["mlp1_hidden_size"], config["mlp2_hidden_size"]]
        self.mlps = nn.ModuleList(MLPLayers([self.flat_size, *h], config["dropout_prob"]) for h in hidden)
        self.fusion = BilinearFusion(sizes=(hidden[0][-1], hidden[1][-1]), num_heads=config["num_heads"])
        self.apply(xavier_normal_initialization)

    def _columns(self, setting: str, fields: list[str]) -> list[int]:
        """Columns of fields in the embeddings; raises SettingError for an unknown field."""
        names = feature_names(self)
        for field in fields:
            if field not in names:
                raise SettingError(f"{setting} must be among the model's fields {', '.join(names)}, got {field!r}")
        return [names.index(field) for field in fields]

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        embeddings = self.concat_embed_input_fields(interaction)  # (B, F, d)
        streams = [mlp(gate(embeddings)) for gate, mlp in zip(self.gates, self.mlps, strict=True)]
        return self.fusion(torch.cat(streams, dim=1))

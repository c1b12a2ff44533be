"""Meta tokens: vectors of a row's features that read the states of its text, layer by layer.

Letters: see ``plm/__init__.py``; G meta tokens per row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.attention import attend

__all__ = ["MetaTokens"]


class MetaTokens(nn.Module):
    """``m = norm(m + attention(m, text of layer l)); m = norm(m + MLP(m))`` for each layer l of the PLM.

    Attention goes one way: meta tokens are queries, and states of the text are keys and values::

        q (B, Q) -> Linear -> m (B, G, W) -> read h_1 -> read h_2 -> ... -> m (B, G, W)
                                               ^           ^
        text -> PLM layer 1 -> h_1 (B, Z, W) --+-> layer 2 +-> ...         never sees m

    Args:
        input_size: Q, width of the representation of features.
        count: G.
        width: W, width of the PLM.
        num_layers: Layers of the PLM that are read.
        heads: H.
        dropout: Rate of dropout of attention weights and of the outputs of both halves of a layer.
    """

    def __init__(
        self, *, input_size: int, count: int, width: int, num_layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.count = count
        self.start = nn.Linear(input_size, count * width)
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(num_layers))

    def forward(self, q: Tensor, states: Sequence[Tensor], lengths: Tensor) -> Tensor:
        """
        Args:
            q: Representation of the features, ``(B, Q)``.
            states: Of the text after each layer, ``(B, Z, W)`` each.
            lengths: Tokens of each row, ``(B,)``; the rest is padding, which is not read.

        Returns:
            ``(B, G, W)``.
        """
        meta = self.start(q).unflatten(1, (self.count, -1))
        seen = torch.arange(states[0].shape[1], device=lengths.device) < lengths.unsqueeze(1)
        mask = seen[:, None, None]  # (B, 1, 1, Z)
        for layer, text in zip(self.layers, states, strict=True):
            meta = layer(meta, text, mask)
        return meta


class _Layer(nn.Module):
    """Cross-attention and an MLP, each with a residual connection and a norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output, self.attended_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, meta: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """``(B, G, W)``, states of the text, ``(B, Z, W)``, and ``(B, 1, 1, Z)`` to ``(B, G, W)``."""
        attended = attend(
            self.query(meta),
            self.key(text),
            self.value(text),
            heads=self.heads,
            mask=mask,
            bias=None,
            dropout=self.dropout.p if self.training else 0.0,
            scale=None,
        )
        meta = self.attended_norm(meta + self.dropout(self.output(attended)))
        return self.norm(meta + self.dropout(self.mlp(meta)))

"""What the prompted encoder asks of a family of transformers models."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Layout", "PostNorm", "columns"]


class PostNorm(NamedTuple):
    """What follows attention in a layer that is normalised behind each of its halves: ``combine``, by its parts.

    Dropout aside, states ``x`` and heads' outputs ``a`` become ``y = attended_norm(projection(a) + x)``, and then
    ``norm(contraction(activation(expansion(y))) + y)``.
    """

    projection: nn.Module
    attended_norm: nn.Module
    expansion: nn.Module
    activation: nn.Module
    contraction: nn.Module
    norm: nn.Module


class Layout:
    """The pieces of a base model of transformers by name; holds no weights of its own.

    A layer is ``combine(attention(queries, keys_values), states)``. N and P are numbers of positions.

    Args:
        model: transformers' base model.
    """

    causal = False
    # Upper layers can train while the ones below them, and what goes in, stay as they are
    separable = True
    # One set of weights serves several layers
    shares_layers = False
    # How much a token attends to another depends on where in the text they stand
    scores_have_places = False
    # Projections that LoRA adapts unless told otherwise: queries and values
    lora_targets: tuple[str, ...] = ("query", "value")

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config

    def embed(self, input_ids: Tensor) -> Tensor:
        """Tokens ``(B, Z)`` to the states that enter the first layer, ``(B, Z, W)``."""
        return self.model.embeddings(input_ids=input_ids)

    def mask(self, index: int, seen: Tensor, positions: Tensor) -> Tensor:
        """What each position may attend to in a layer's text.

        Args:
            index: The layer.
            seen: False at padding, ``(B, Z)``.
            positions: Asked-for positions in the text, ``(B or 1, P)``.

        Returns:
            ``(B, P or 1, Z)``, True where it attends.
        """
        return seen.unsqueeze(1)

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        """Queries of states ``(B, N, W)`` at their positions in the text, ``(B or 1, N)``; None for prompts."""
        raise NotImplementedError

    def key_value_layers(self, index: int) -> tuple[nn.Module, nn.Module] | None:
        """What makes keys of states as they are, and what values; None where more is done to them."""
        return None

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values of states ``(B, N, W)``; positions as for ``queries``."""
        layers = self.key_value_layers(index)
        if layers is None:
            raise NotImplementedError
        key, value = layers
        return key(states), value(states)

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        """The rest of a layer: heads' output ``(B, P, W)`` and what entered the layer there, ``(B, P, W)``."""
        raise NotImplementedError

    def post_norm(self, index: int) -> PostNorm | None:
        """The parts of ``combine`` where a layer is so laid out, with nothing behind the last one; else None."""
        return None

    def attention_dropout(self, index: int) -> float:
        """Dropout of attention weights in training."""
        raise NotImplementedError

    def scale(self, index: int) -> float | None:
        """Factor on attention scores; None is one over the root of the head size."""
        return None

    def bias(self, index: int, query: Tensor, key: Tensor, positions: Tensor) -> Tensor | None:
        """What is added to the scaled scores of text.

        Args:
            index: The layer.
            query: ``(B, P, W)``.
            key: ``(B, Z, W)``.
            positions: Of the queries, ``(B or 1, P)``.

        Returns:
            ``(B, H, P, Z)``, or None for nothing.
        """
        return None

    def upper(self, first: int) -> list[nn.Module]:
        """What belongs to the layers from ``first`` on alone."""
        return list(self.model.encoder.layer[first:])

    def finish(self, states: Tensor) -> Tensor:
        """What the model does behind its last layer."""
        return states


def columns(projection: Any, states: Tensor, start: int, stop: int) -> Tensor:
    """Outputs ``start`` to ``stop`` of a fused projection, without the others where its weights are plain."""
    if type(projection) is nn.Linear:
        bias = None if projection.bias is None else projection.bias[start:stop]
        return F.linear(states, projection.weight[start:stop], bias)
    if type(projection).__name__ == "Conv1D":  # GPT-2's transposed linear layer
        return states @ projection.weight[:, start:stop] + projection.bias[start:stop]
    return projection(states)[..., start:stop]  # wrapped, by LoRA for one

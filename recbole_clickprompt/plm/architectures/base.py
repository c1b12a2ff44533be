"""What the prompted encoder needs from a family of transformers models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ArchitectureAdapter", "LayerAdapter", "PostNorm", "slice_projection"]


class PostNorm(NamedTuple):
    """The modules of ``LayerAdapter.combine`` in a layer that is normalized after each of its halves.

    Dropout aside, states ``x`` and heads' outputs ``a`` become ``y = attended_norm(projection(a) + x)``, and then
    ``norm(contraction(activation(expansion(y))) + y)``.
    """

    projection: nn.Module
    attended_norm: nn.Module
    expansion: nn.Module
    activation: nn.Module
    contraction: nn.Module
    norm: nn.Module


class LayerAdapter:
    """One layer as ``combine(attention(queries, keys_values), states)``; has no weights of its own.

    Args:
        model: transformers' base model.
        block: Its module for this layer.
    """

    def __init__(self, model: Any, block: Any) -> None:
        self.model, self.config, self.block = model, model.config, block

    def mask(self, seen: Tensor, positions: Tensor) -> Tensor:
        """Which text each position attends to.

        Args:
            seen: False at padding, ``(B, Z)``.
            positions: Positions of the queries in the text, ``(B or 1, P)``.

        Returns:
            ``(B, P or 1, Z)``, True where it attends.
        """
        return seen.unsqueeze(1)

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        """Queries ``(B, N, W)`` of states ``(B, N, W)`` at ``positions``, ``(B or 1, N)``; None for prompts."""
        raise NotImplementedError

    def key_value_projections(self) -> tuple[nn.Module, nn.Module] | None:
        """The modules that make keys and values of unchanged states; None where a layer does more than that."""
        return None

    def keys_values(self, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values, ``(B, N, W)`` each; arguments as for ``queries``."""
        projections = self.key_value_projections()
        if projections is None:
            raise NotImplementedError
        key, value = projections
        return key(states), value(states)

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        """The rest of the layer, ``(B, P, W)``.

        Args:
            attended: Outputs of the heads, ``(B, P, W)``.
            states: What entered the layer at the same positions, ``(B, P, W)``.
        """
        raise NotImplementedError

    def post_norm(self) -> PostNorm | None:
        """The modules of ``combine``; None where it is not of that form."""
        return None

    @property
    def attention_dropout(self) -> float:
        """Dropout of attention weights in training."""
        raise NotImplementedError

    @property
    def scale(self) -> float | None:
        """Factor on attention scores; None is ``D ** -0.5``."""
        return None

    def bias(self, query: Tensor, key: Tensor, positions: Tensor) -> Tensor | None:
        """Added to the scaled scores of text.

        Args:
            query: ``(B, P, W)``.
            key: ``(B, Z, W)``.
            positions: Positions of the queries, ``(B or 1, P)``.

        Returns:
            ``(B, H, P, Z)``, or None for nothing.
        """
        return None


class ArchitectureAdapter:
    """The parts of a base model of transformers by name; has no weights of its own.

    Args:
        model: transformers' base model.
    """

    layer_class: type[LayerAdapter]
    # Text only attends to what comes before it
    causal = False
    # The outputs of frozen lower layers can be computed in advance
    supports_precomputed_layers = True
    # One set of weights serves several layers
    shares_layers = False
    # Attention scores depend on where in the text tokens are
    position_dependent_scores = False
    # Projections that LoRA adapts by default: queries and values
    lora_targets: tuple[str, ...] = ("query", "value")

    def __init__(self, model: Any) -> None:
        self.model = model

    def embed(self, input_ids: Tensor) -> Tensor:
        """Tokens ``(B, Z)`` to the states that enter the first layer, ``(B, Z, W)``."""
        return self.model.embeddings(input_ids=input_ids)

    def blocks(self) -> Sequence[nn.Module]:
        """The modules of the layers, in their order."""
        return self.model.encoder.layer

    def layer(self, index: int) -> LayerAdapter:
        """The layer with this index, from 0."""
        return self.layer_class(self.model, self.blocks()[index])

    @property
    def final_norm(self) -> nn.Module:
        """Applied to the outputs of the last layer."""
        return nn.Identity()

    def parameters_from_layer(self, first: int) -> list[nn.Parameter]:
        """Parameters of the layers from ``first`` on, and of what follows them."""
        modules = [*self.blocks()[first:], self.final_norm]
        return [parameter for module in modules for parameter in module.parameters()]


def slice_projection(projection: Any, states: Tensor, start: int, stop: int) -> Tensor:
    """Outputs ``start`` to ``stop`` of a fused projection; the others are not computed if it is a plain one."""
    if type(projection) is nn.Linear:
        bias = None if projection.bias is None else projection.bias[start:stop]
        return F.linear(states, projection.weight[start:stop], bias)
    if type(projection).__name__ == "Conv1D":  # GPT-2's transposed linear layer
        return states @ projection.weight[:, start:stop] + projection.bias[start:stop]
    return projection(states)[..., start:stop]  # wrapped, for example by LoRA

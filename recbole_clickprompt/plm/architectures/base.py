"""What the prompted encoder needs from a family of transformers models. Letters: see ``plm/__init__.py``.

An adapter names the parts of a layer, so that the encoder can run queries, keys and values separately and put
prompts between them. transformers' own modules do the computing; only attention is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ArchitectureAdapter", "LayerAdapter", "PostNorm", "slice_projection"]


class PostNorm(NamedTuple):
    """The modules of ``LayerAdapter.combine`` in a layer that is normalized after each of its halves.

    Without dropout, states ``x`` and outputs ``a`` of the heads, each ``(B, P, W)``, become::

        y   = attended_norm(projection(a) + x)
        out = norm(contraction(activation(expansion(y))) + y)

    Attributes:
        projection: Linear, W to W.
        attended_norm: LayerNorm after attention.
        expansion: Linear, W to the inner width of the MLP.
        activation: Elementwise.
        contraction: Linear, inner width to W.
        norm: LayerNorm after the MLP.
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
        block: The module of this layer in ``model``.
    """

    def __init__(self, model: PreTrainedModel, block: nn.Module) -> None:
        self.model, self.config = model, model.config
        self.block: Any = block  # its attributes differ from family to family

    def mask(self, seen: Tensor, positions: Tensor) -> Tensor:
        """Tokens that each query of the text attends to.

        Args:
            seen: False at padding, ``(B, Z)``.
            positions: Positions of the queries in the text, ``(B or 1, P)``.

        Returns:
            True where a query attends, ``(B, P or 1, Z)``.
        """
        return seen.unsqueeze(1)

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        """Queries.

        Args:
            states: What enters the layer, ``(B, P, W)``, or of prompts ``(B, K, W)``.
            positions: Positions of the states in the text, ``(B or 1, P)``; None for prompts.

        Returns:
            ``(B, P, H * D)``; heads are not split yet.
        """
        raise NotImplementedError

    def key_value_projections(self) -> tuple[nn.Module, nn.Module] | None:
        """The modules that map states to keys and to values; None if a layer also normalizes or rotates them."""
        return None

    def keys_values(self, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values.

        Args:
            states: What enters the layer, ``(B, Z, W)``, or of prompts ``(B, K, W)``.
            positions: Positions of the states in the text, ``(B or 1, Z)``; None for prompts.

        Returns:
            Two tensors ``(B, Z, key_value_size)``; heads are not split yet.
        """
        projections = self.key_value_projections()
        if projections is None:
            raise NotImplementedError
        key, value = projections
        return key(states), value(states)

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        """The rest of the layer: output projection, residual connections, MLP and norms.

        Args:
            attended: Concatenated outputs of the heads, ``(B, P, H * D)``.
            states: What entered the layer at the same positions, ``(B, P, W)``.

        Returns:
            Outputs of the layer, ``(B, P, W)``.
        """
        raise NotImplementedError

    def post_norm(self) -> PostNorm | None:
        """The modules of ``combine`` if it is of the form of ``PostNorm``, otherwise None."""
        return None

    @property
    def attention_dropout(self) -> float:
        """Rate of dropout of attention weights in training."""
        raise NotImplementedError

    @property
    def scale(self) -> float | None:
        """Factor on attention scores; None is ``D ** -0.5``."""
        return None

    def bias(self, query: Tensor, key: Tensor, positions: Tensor) -> Tensor | None:
        """Position-dependent term that is added to the scaled scores of the text.

        Args:
            query: Queries of the text, ``(B, P, H * D)``.
            key: Keys of the text, ``(B, Z, key_value_size)``.
            positions: Positions of the queries, ``(B or 1, P)``.

        Returns:
            ``(B or 1, H, P, Z)``, or None if there is no such term.
        """
        return None


class ArchitectureAdapter:
    """The parts of a base model of transformers by name; has no weights of its own.

    Args:
        model: transformers' base model.

    Attributes:
        layer_class: Adapter of the layers.
        causal: A token attends only to itself and to earlier ones.
        supports_precomputed_layers: Outputs of frozen lower layers can be computed in advance.
        shares_layers: One set of weights serves several layers.
        position_dependent_scores: Attention scores depend on the positions of tokens.
        lora_targets: Names of the projections that LoRA adapts by default: queries and values.
    """

    layer_class: type[LayerAdapter]
    causal = False
    supports_precomputed_layers = True
    shares_layers = False
    position_dependent_scores = False
    lora_targets: tuple[str, ...] = ("query", "value")

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model  # its attributes differ from family to family

    def embed(self, input_ids: Tensor) -> Tensor:
        """The states that enter the first layer, ``(B, Z, W)``, of tokens ``(B, Z)``."""
        return self.model.embeddings(input_ids=input_ids)

    def blocks(self) -> Sequence[nn.Module]:
        """The modules of the layers, lowest first."""
        return self.model.encoder.layer

    def layer(self, index: int) -> LayerAdapter:
        """Adapter of the layer ``index``, from 0."""
        return self.layer_class(self.model, self.blocks()[index])

    @property
    def key_value_size(self) -> int:
        """Width of a layer's keys, and of its values: W, or less if several heads of queries share one of them."""
        return self.model.config.hidden_size

    @property
    def final_norm(self) -> nn.Module:
        """Norm of the last layer's outputs; an identity in post-norm families."""
        return nn.Identity()

    def parameters_from_layer(self, first: int) -> list[nn.Parameter]:
        """Parameters of the layers from ``first`` on and of the final norm."""
        modules = [*self.blocks()[first:], self.final_norm]
        return [parameter for module in modules for parameter in module.parameters()]


def slice_projection(projection: nn.Module, states: Tensor, start: int, stop: int) -> Tensor:
    """Some outputs of a projection that computes queries, keys and values in one product.

    Args:
        projection: ``nn.Linear``, transformers' ``Conv1D``, or a wrapper around one of them.
        states: ``(B, Z, W)``.
        start: First output.
        stop: End of the outputs, not included.

    Returns:
        ``(B, Z, stop - start)``. If the projection is wrapped, all outputs are computed and then sliced.
    """
    if type(projection) is nn.Linear:
        bias = None if projection.bias is None else projection.bias[start:stop]
        return F.linear(states, projection.weight[start:stop], bias)
    if type(projection).__name__ == "Conv1D":  # GPT-2's transposed linear layer
        weight, bias = projection.get_parameter("weight"), projection.get_parameter("bias")
        return states @ weight[:, start:stop] + bias[start:stop]
    return projection(states)[..., start:stop]  # wrapped, for example by LoRA

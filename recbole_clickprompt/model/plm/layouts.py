"""How each family of transformers models lays out what the prompted encoder walks through."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LAYOUTS", "Layout"]


class Layout:
    """The pieces of a base model of transformers by name; holds no weights of its own.

    A layer is ``combine(attention(queries, keys_values), states)``. N and P are numbers of positions.

    Args:
        model: transformers' base model.
    """

    causal = False
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

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values of states ``(B, N, W)``; positions as for ``queries``."""
        raise NotImplementedError

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        """The rest of a layer: heads' output ``(B, P, W)`` and what entered the layer there, ``(B, P, W)``."""
        raise NotImplementedError

    def attention_dropout(self, index: int) -> float:
        """Dropout of attention weights in training."""
        raise NotImplementedError

    def finish(self, states: Tensor) -> Tensor:
        """What the model does behind its last layer."""
        return states


class BertLayout(Layout):
    """BERT (also MiniLM, TinyBERT), RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA."""

    def embed(self, input_ids: Tensor) -> Tensor:
        states = super().embed(input_ids)
        project = getattr(self.model, "embeddings_project", None)  # ELECTRA's small embeddings
        return states if project is None else project(states)

    def _attention(self, index: int) -> Any:
        return self.model.encoder.layer[index].attention.self

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        return self._attention(index).query(states)

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        attention = self._attention(index)
        return attention.key(states), attention.value(states)

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.encoder.layer[index]
        attended = layer.attention.output(attended, states)
        return layer.output(layer.intermediate(attended), attended)

    def attention_dropout(self, index: int) -> float:
        return self._attention(index).dropout.p


class DistilBertLayout(Layout):
    """DistilBERT."""

    lora_targets = ("q_lin", "v_lin")

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        return self.model.transformer.layer[index].attention.q_lin(states)

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        attention = self.model.transformer.layer[index].attention
        return attention.k_lin(states), attention.v_lin(states)

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.transformer.layer[index]
        attended = layer.sa_layer_norm(layer.attention.out_lin(attended) + states)
        return layer.output_layer_norm(layer.ffn(attended) + attended)

    def attention_dropout(self, index: int) -> float:
        return self.model.transformer.layer[index].attention.dropout.p


class AlbertLayout(Layout):
    """ALBERT, whose layers share their weights."""

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.model.encoder.embedding_hidden_mapping_in(super().embed(input_ids))

    def _layer(self, index: int) -> Any:
        group = index * self.config.num_hidden_groups // self.config.num_hidden_layers
        return self.model.encoder.albert_layer_groups[group].albert_layers[0]

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        return self._layer(index).attention.query(states)

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        attention = self._layer(index).attention
        return attention.key(states), attention.value(states)

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self._layer(index)
        attention = layer.attention
        attended = attention.LayerNorm(states + attention.output_dropout(attention.dense(attended)))
        return layer.full_layer_layer_norm(layer.ff_chunk(attended) + attended)

    def attention_dropout(self, index: int) -> float:
        return self._layer(index).attention.attention_dropout.p


class ModernBertLayout(Layout):
    """ModernBERT: normalised before each layer, rotary positions, some layers that see a window of the text.

    Prompts have no place in the text: they are not rotated, and every window shows them.
    """

    lora_targets = ("Wqkv",)

    def mask(self, index: int, seen: Tensor, positions: Tensor) -> Tensor:
        if self.model.layers[index].attention_type != "sliding_attention":
            return super().mask(index, seen, positions)
        text = torch.arange(seen.shape[1], device=seen.device)
        return seen.unsqueeze(1) & ((positions.unsqueeze(2) - text).abs() <= self.config.sliding_window)

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        layer, width = self.model.layers[index], self.config.hidden_size
        query = _columns(layer.attn.Wqkv, layer.attn_norm(states), 0, width)
        return query if positions is None else self._rotate(query, positions, layer)

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        layer, width = self.model.layers[index], self.config.hidden_size
        both = _columns(layer.attn.Wqkv, layer.attn_norm(states), width, 3 * width)
        key, value = both.chunk(2, dim=2)
        return key if positions is None else self._rotate(key, positions, layer), value

    def _rotate(self, states: Tensor, positions: Tensor, layer: Any) -> Tensor:
        heads = states.unflatten(2, (self.config.num_attention_heads, -1))  # (B, N, H, D)
        cos, sin = self.model.rotary_emb(states, positions, layer.attention_type)  # (B or 1, N, D)
        first, second = heads.chunk(2, dim=3)
        turned = torch.cat([-second, first], dim=3)
        return (heads * cos.unsqueeze(2) + turned * sin.unsqueeze(2)).flatten(2)

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.layers[index]
        states = states + layer.attn.out_drop(layer.attn.Wo(attended))
        return states + layer.mlp(layer.mlp_norm(states))

    def attention_dropout(self, index: int) -> float:
        return self.model.layers[index].attn.attention_dropout

    def finish(self, states: Tensor) -> Tensor:
        return self.model.final_norm(states)


class GPT2Layout(Layout):
    """GPT-2: normalised before each layer, and text sees only what comes before it."""

    causal = True
    lora_targets = ("c_attn",)

    def embed(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        return self.model.drop(self.model.wte(input_ids) + self.model.wpe(positions))

    def mask(self, index: int, seen: Tensor, positions: Tensor) -> Tensor:
        text = torch.arange(seen.shape[1], device=seen.device)
        return seen.unsqueeze(1) & (text <= positions.unsqueeze(2))

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        layer = self.model.h[index]
        return _columns(layer.attn.c_attn, layer.ln_1(states), 0, self.config.hidden_size)

    def keys_values(self, index: int, states: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        layer, width = self.model.h[index], self.config.hidden_size
        key, value = _columns(layer.attn.c_attn, layer.ln_1(states), width, 3 * width).chunk(2, dim=2)
        return key, value

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.h[index]
        states = states + layer.attn.resid_dropout(layer.attn.c_proj(attended))
        return states + layer.mlp(layer.ln_2(states))

    def attention_dropout(self, index: int) -> float:
        return self.model.h[index].attn.attn_dropout.p

    def finish(self, states: Tensor) -> Tensor:
        return self.model.ln_f(states)


def _columns(projection: Any, states: Tensor, start: int, stop: int) -> Tensor:
    """Outputs ``start`` to ``stop`` of a fused projection, without the others where its weights are plain."""
    if type(projection) is nn.Linear:
        bias = None if projection.bias is None else projection.bias[start:stop]
        return F.linear(states, projection.weight[start:stop], bias)
    if type(projection).__name__ == "Conv1D":  # GPT-2's transposed linear layer
        return states @ projection.weight[:, start:stop] + projection.bias[start:stop]
    return projection(states)[..., start:stop]  # wrapped, by LoRA for one


# By transformers' model type
LAYOUTS: dict[str, type[Layout]] = {
    "albert": AlbertLayout,
    "bert": BertLayout,
    "camembert": BertLayout,
    "distilbert": DistilBertLayout,
    "electra": BertLayout,
    "gpt2": GPT2Layout,
    "modernbert": ModernBertLayout,
    "roberta": BertLayout,
    "xlm-roberta": BertLayout,
}

"""How each family of transformers models lays out what the prompted encoder walks through."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LAYOUTS", "Layout"]


class Layout:
    """Embeddings and layers of a base model of transformers; holds no weights of its own.

    Letters: P asked-for positions, K prompts, Z text tokens. A layer's context is K prompts, then the text.

    Args:
        model: transformers' base model.
    """

    causal = False

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
            positions: Asked-for positions, ``(B or 1, P)``.

        Returns:
            ``(B, P or 1, Z)``, True where it attends.
        """
        return seen.unsqueeze(1)

    def layer(
        self, index: int, states: Tensor, context: Tensor, mask: Tensor, positions: Tensor, num_prompts: int
    ) -> Tensor:
        """One layer at the asked-for positions.

        Args:
            index: The layer.
            states: What entered it there, ``(B, P, W)``.
            context: Prompts and all text states that enter it, ``(B, K + Z, W)``.
            mask: True where a position attends, ``(B, 1, P or 1, K + Z)``.
            positions: Of the states in the text, ``(B or 1, P)``.
            num_prompts: K, 0 without prompts.

        Returns:
            What leaves it, ``(B, P, W)``.
        """
        raise NotImplementedError

    def finish(self, states: Tensor) -> Tensor:
        """What the model does behind its last layer."""
        return states


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, heads: int, dropout: float) -> Tensor:
    def split(states: Tensor) -> Tensor:  # (B, N, W) -> (B, H, N, D)
        return states.unflatten(2, (heads, -1)).transpose(1, 2)

    attended = F.scaled_dot_product_attention(
        split(query), split(key), split(value), attn_mask=mask, dropout_p=dropout
    )
    return attended.transpose(1, 2).flatten(2)


class BertLayout(Layout):
    """BERT (also MiniLM, TinyBERT), RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA."""

    def embed(self, input_ids: Tensor) -> Tensor:
        states = super().embed(input_ids)
        project = getattr(self.model, "embeddings_project", None)  # ELECTRA's small embeddings
        return states if project is None else project(states)

    def layer(
        self, index: int, states: Tensor, context: Tensor, mask: Tensor, positions: Tensor, num_prompts: int
    ) -> Tensor:
        layer = self.model.encoder.layer[index]
        attention = layer.attention.self
        attended = _attend(
            attention.query(states),
            attention.key(context),
            attention.value(context),
            mask,
            heads=attention.num_attention_heads,
            dropout=attention.dropout.p if attention.training else 0.0,
        )
        attended = layer.attention.output(attended, states)
        return layer.output(layer.intermediate(attended), attended)


class DistilBertLayout(Layout):
    """DistilBERT."""

    def layer(
        self, index: int, states: Tensor, context: Tensor, mask: Tensor, positions: Tensor, num_prompts: int
    ) -> Tensor:
        layer = self.model.transformer.layer[index]
        attention = layer.attention
        attended = _attend(
            attention.q_lin(states),
            attention.k_lin(context),
            attention.v_lin(context),
            mask,
            heads=attention.n_heads,
            dropout=attention.dropout.p if attention.training else 0.0,
        )
        attended = layer.sa_layer_norm(attention.out_lin(attended) + states)
        return layer.output_layer_norm(layer.ffn(attended) + attended)


class AlbertLayout(Layout):
    """ALBERT, whose layers share their weights."""

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.model.encoder.embedding_hidden_mapping_in(super().embed(input_ids))

    def layer(
        self, index: int, states: Tensor, context: Tensor, mask: Tensor, positions: Tensor, num_prompts: int
    ) -> Tensor:
        group = index * self.config.num_hidden_groups // self.config.num_hidden_layers
        layer = self.model.encoder.albert_layer_groups[group].albert_layers[0]
        attention = layer.attention
        attended = _attend(
            attention.query(states),
            attention.key(context),
            attention.value(context),
            mask,
            heads=attention.num_attention_heads,
            dropout=attention.attention_dropout.p if attention.training else 0.0,
        )
        attended = attention.LayerNorm(states + attention.output_dropout(attention.dense(attended)))
        return layer.full_layer_layer_norm(layer.ff_chunk(attended) + attended)


class ModernBertLayout(Layout):
    """ModernBERT: normalised before each layer, rotary positions, some layers that see a window of the text.

    Prompts have no place in the text: they are not rotated, and every window shows them.
    """

    def mask(self, index: int, seen: Tensor, positions: Tensor) -> Tensor:
        layer = self.model.layers[index]
        if layer.attention_type != "sliding_attention":
            return super().mask(index, seen, positions)
        text = torch.arange(seen.shape[1], device=seen.device)
        return seen.unsqueeze(1) & ((positions.unsqueeze(2) - text).abs() <= self.config.sliding_window)

    def layer(
        self, index: int, states: Tensor, context: Tensor, mask: Tensor, positions: Tensor, num_prompts: int
    ) -> Tensor:
        layer = self.model.layers[index]
        attention, width = layer.attn, self.config.hidden_size
        weight, bias = attention.Wqkv.weight, attention.Wqkv.bias
        query = F.linear(layer.attn_norm(states), weight[:width], None if bias is None else bias[:width])
        key, value = F.linear(
            layer.attn_norm(context), weight[width:], None if bias is None else bias[width:]
        ).chunk(2, dim=2)
        text = torch.arange(context.shape[1] - num_prompts, device=context.device).unsqueeze(0)
        rotated = self._rotate(key[:, num_prompts:], text, layer.attention_type)
        attended = _attend(
            self._rotate(query, positions, layer.attention_type),
            torch.cat([key[:, :num_prompts], rotated], dim=1),
            value,
            mask,
            heads=self.config.num_attention_heads,
            dropout=attention.attention_dropout if attention.training else 0.0,
        )
        states = states + attention.out_drop(attention.Wo(attended))
        return states + layer.mlp(layer.mlp_norm(states))

    def _rotate(self, states: Tensor, positions: Tensor, attention_type: str) -> Tensor:
        heads = states.unflatten(2, (self.config.num_attention_heads, -1))  # (B, N, H, D)
        cos, sin = self.model.rotary_emb(states, positions, attention_type)  # (B or 1, N, D)
        first, second = heads.chunk(2, dim=3)
        turned = torch.cat([-second, first], dim=3)
        return (heads * cos.unsqueeze(2) + turned * sin.unsqueeze(2)).flatten(2)

    def finish(self, states: Tensor) -> Tensor:
        return self.model.final_norm(states)


class GPT2Layout(Layout):
    """GPT-2: normalised before each layer, and text sees only what comes before it."""

    causal = True

    def embed(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        return self.model.drop(self.model.wte(input_ids) + self.model.wpe(positions))

    def mask(self, index: int, seen: Tensor, positions: Tensor) -> Tensor:
        text = torch.arange(seen.shape[1], device=seen.device)
        return seen.unsqueeze(1) & (text <= positions.unsqueeze(2))

    def layer(
        self, index: int, states: Tensor, context: Tensor, mask: Tensor, positions: Tensor, num_prompts: int
    ) -> Tensor:
        layer = self.model.h[index]
        attention, width = layer.attn, self.config.hidden_size
        weight, bias = attention.c_attn.weight, attention.c_attn.bias  # (W, 3 W), (3 W,)
        query = layer.ln_1(states) @ weight[:, :width] + bias[:width]
        key, value = (layer.ln_1(context) @ weight[:, width:] + bias[width:]).chunk(2, dim=2)
        attended = _attend(
            query,
            key,
            value,
            mask,
            heads=attention.num_heads,
            dropout=attention.attn_dropout.p if attention.training else 0.0,
        )
        states = states + attention.resid_dropout(attention.c_proj(attended))
        return states + layer.mlp(layer.ln_2(states))

    def finish(self, states: Tensor) -> Tensor:
        return self.model.ln_f(states)


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

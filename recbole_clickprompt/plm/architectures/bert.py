"""Families that normalise behind each layer, as BERT does."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.base import Layout, PostNorm
from recbole_clickprompt.plm.dropout import dropout

__all__ = ["AlbertLayout", "BartLayout", "BertLayout", "DistilBertLayout"]


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

    def key_value_layers(self, index: int) -> tuple[nn.Module, nn.Module]:
        attention = self._attention(index)
        return attention.key, attention.value

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.encoder.layer[index]
        attended = layer.attention.output(attended, states)
        return layer.output(layer.intermediate(attended), attended)

    def post_norm(self, index: int) -> PostNorm:
        layer = self.model.encoder.layer[index]
        first, inner, last = layer.attention.output, layer.intermediate, layer.output
        return PostNorm(
            first.dense, first.LayerNorm, inner.dense, inner.intermediate_act_fn, last.dense, last.LayerNorm
        )

    def attention_dropout(self, index: int) -> float:
        return self._attention(index).dropout.p


class DistilBertLayout(Layout):
    """DistilBERT."""

    lora_targets = ("q_lin", "v_lin")

    def upper(self, first: int) -> list[nn.Module]:
        return list(self.model.transformer.layer[first:])

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        return self.model.transformer.layer[index].attention.q_lin(states)

    def key_value_layers(self, index: int) -> tuple[nn.Module, nn.Module]:
        attention = self.model.transformer.layer[index].attention
        return attention.k_lin, attention.v_lin

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.transformer.layer[index]
        attended = layer.sa_layer_norm(layer.attention.out_lin(attended) + states)
        return layer.output_layer_norm(layer.ffn(attended) + attended)

    def post_norm(self, index: int) -> PostNorm:
        layer = self.model.transformer.layer[index]
        first, ffn = layer.attention.out_lin, layer.ffn
        return PostNorm(first, layer.sa_layer_norm, ffn.lin1, ffn.activation, ffn.lin2, layer.output_layer_norm)

    def attention_dropout(self, index: int) -> float:
        return self.model.transformer.layer[index].attention.dropout.p


class AlbertLayout(Layout):
    """ALBERT, whose layers share their weights."""

    separable = False
    shares_layers = True

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.model.encoder.embedding_hidden_mapping_in(super().embed(input_ids))

    def _layer(self, index: int) -> Any:
        group = index * self.config.num_hidden_groups // self.config.num_hidden_layers
        return self.model.encoder.albert_layer_groups[group].albert_layers[0]

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        return self._layer(index).attention.query(states)

    def key_value_layers(self, index: int) -> tuple[nn.Module, nn.Module]:
        attention = self._layer(index).attention
        return attention.key, attention.value

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self._layer(index)
        attention = layer.attention
        attended = attention.LayerNorm(states + attention.output_dropout(attention.dense(attended)))
        return layer.full_layer_layer_norm(layer.ff_chunk(attended) + attended)

    def attention_dropout(self, index: int) -> float:
        return self._layer(index).attention.attention_dropout.p


class BartLayout(Layout):
    """The encoder of BART; its decoder is none of the prompts' business."""

    separable = False  # its decoder reads the tokens themselves
    lora_targets = ("q_proj", "v_proj")

    def upper(self, first: int) -> list[nn.Module]:
        return list(self.model.layers[first:])

    def embed(self, input_ids: Tensor) -> Tensor:
        embedded = self.model.embed_tokens(input_ids)
        states = self.model.layernorm_embedding(embedded + self.model.embed_positions(input_ids))
        return self._dropout(states, self.model.dropout)

    def _dropout(self, states: Tensor, rate: float) -> Tensor:
        return dropout(states, rate) if self.model.training else states

    def queries(self, index: int, states: Tensor, positions: Tensor | None) -> Tensor:
        return self.model.layers[index].self_attn.q_proj(states)

    def key_value_layers(self, index: int) -> tuple[nn.Module, nn.Module]:
        attention = self.model.layers[index].self_attn
        return attention.k_proj, attention.v_proj

    def combine(self, index: int, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.model.layers[index]
        attended = self._dropout(layer.self_attn.out_proj(attended), layer.dropout)
        states = layer.self_attn_layer_norm(states + attended)
        inside = self._dropout(layer.activation_fn(layer.fc1(states)), layer.activation_dropout)
        return layer.final_layer_norm(states + self._dropout(layer.fc2(inside), layer.dropout))

    def attention_dropout(self, index: int) -> float:
        return self.model.layers[index].self_attn.dropout

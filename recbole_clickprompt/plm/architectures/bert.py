"""Families that normalize after each half of a layer, as BERT does.

The layers follow transformers' modeling files, split before and after attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from recbole_clickprompt.plm.architectures.base import ArchitectureAdapter, LayerAdapter, PostNorm
from recbole_clickprompt.plm.dropout import dropout

__all__ = ["AlbertAdapter", "BartAdapter", "BertAdapter", "BertLayer", "DistilBertAdapter"]


class BertLayer(LayerAdapter):
    """A layer of BERT: ``BertLayer`` in transformers' ``modeling_bert.py``."""

    @property
    def _attention(self) -> Any:
        return self.block.attention.self

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        return self._attention.query(states)

    def key_value_projections(self) -> tuple[nn.Module, nn.Module]:
        return self._attention.key, self._attention.value

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        attended = self.block.attention.output(attended, states)
        return self.block.output(self.block.intermediate(attended), attended)

    def post_norm(self) -> PostNorm:
        first, inner, last = self.block.attention.output, self.block.intermediate, self.block.output
        return PostNorm(
            first.dense, first.LayerNorm, inner.dense, inner.intermediate_act_fn, last.dense, last.LayerNorm
        )

    @property
    def attention_dropout(self) -> float:
        return self._attention.dropout.p


class BertAdapter(ArchitectureAdapter):
    """BERT (also MiniLM, TinyBERT), RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA."""

    layer_class = BertLayer

    def embed(self, input_ids: Tensor) -> Tensor:
        states = super().embed(input_ids)
        project = getattr(self.model, "embeddings_project", None)  # ELECTRA's small embeddings
        return states if project is None else project(states)


class DistilBertLayer(LayerAdapter):
    """A layer of DistilBERT: ``TransformerBlock`` in ``modeling_distilbert.py``."""

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        return self.block.attention.q_lin(states)

    def key_value_projections(self) -> tuple[nn.Module, nn.Module]:
        return self.block.attention.k_lin, self.block.attention.v_lin

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.block
        attended = layer.sa_layer_norm(layer.attention.out_lin(attended) + states)
        return layer.output_layer_norm(layer.ffn(attended) + attended)

    def post_norm(self) -> PostNorm:
        layer = self.block
        first, ffn = layer.attention.out_lin, layer.ffn
        return PostNorm(first, layer.sa_layer_norm, ffn.lin1, ffn.activation, ffn.lin2, layer.output_layer_norm)

    @property
    def attention_dropout(self) -> float:
        return self.block.attention.dropout.p


class DistilBertAdapter(ArchitectureAdapter):
    """DistilBERT."""

    layer_class = DistilBertLayer
    lora_targets = ("q_lin", "v_lin")

    def blocks(self) -> Sequence[nn.Module]:
        return self.model.transformer.layer


class AlbertLayer(LayerAdapter):
    """A layer of ALBERT: ``AlbertLayer`` in ``modeling_albert.py``."""

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        return self.block.attention.query(states)

    def key_value_projections(self) -> tuple[nn.Module, nn.Module]:
        return self.block.attention.key, self.block.attention.value

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        layer, attention = self.block, self.block.attention
        attended = attention.LayerNorm(states + attention.output_dropout(attention.dense(attended)))
        return layer.full_layer_layer_norm(layer.ff_chunk(attended) + attended)

    @property
    def attention_dropout(self) -> float:
        return self.block.attention.attention_dropout.p


class AlbertAdapter(ArchitectureAdapter):
    """ALBERT, whose layers share their weights, so lower layers cannot be frozen without the upper ones."""

    layer_class = AlbertLayer
    supports_precomputed_layers = False
    shares_layers = True

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.model.encoder.embedding_hidden_mapping_in(super().embed(input_ids))

    def blocks(self) -> Sequence[nn.Module]:
        config, groups = self.model.config, self.model.encoder.albert_layer_groups
        layers = range(config.num_hidden_layers)
        return [
            groups[index * config.num_hidden_groups // config.num_hidden_layers].albert_layers[0]
            for index in layers
        ]


class BartLayer(LayerAdapter):
    """A layer of BART's encoder: ``BartEncoderLayer`` in ``modeling_bart.py``."""

    def queries(self, states: Tensor, positions: Tensor | None) -> Tensor:
        return self.block.self_attn.q_proj(states)

    def key_value_projections(self) -> tuple[nn.Module, nn.Module]:
        return self.block.self_attn.k_proj, self.block.self_attn.v_proj

    def combine(self, attended: Tensor, states: Tensor) -> Tensor:
        layer = self.block
        attended = self._dropout(layer.self_attn.out_proj(attended), layer.dropout)
        states = layer.self_attn_layer_norm(states + attended)
        inside = self._dropout(layer.activation_fn(layer.fc1(states)), layer.activation_dropout)
        return layer.final_layer_norm(states + self._dropout(layer.fc2(inside), layer.dropout))

    def _dropout(self, states: Tensor, rate: float) -> Tensor:
        return dropout(states, rate) if self.model.training else states

    @property
    def attention_dropout(self) -> float:
        return self.block.self_attn.dropout


class BartAdapter(ArchitectureAdapter):
    """The encoder of BART; prompts do not enter its decoder."""

    layer_class = BartLayer
    supports_precomputed_layers = False  # its decoder reads the tokens themselves
    lora_targets = ("q_proj", "v_proj")

    def blocks(self) -> Sequence[nn.Module]:
        return self.model.layers

    def embed(self, input_ids: Tensor) -> Tensor:
        embedded = self.model.embed_tokens(input_ids)
        states = self.model.layernorm_embedding(embedded + self.model.embed_positions(input_ids))
        return dropout(states, self.model.dropout) if self.model.training else states

"""How prompts enter a transformers model (ClickPrompt, Eq. 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from recbole_clickprompt.plm.architectures import LAYOUTS, Layout
from recbole_clickprompt.plm.attention import attend
from recbole_clickprompt.plm.batch_layout import Padded, Rows, lay_out
from recbole_clickprompt.plm.one_query import attend_from_one

__all__ = ["PromptedEncoder", "SharedPromptedEncoder"]


class PromptedEncoder(nn.Module):
    """A PLM in which the text of every layer also attends to that layer's prompts.

    Eq. 7 puts K prompts in front of the states of each layer and drops their outputs. As nobody reads those
    outputs, prompts are needed as keys and values only, which the layer's own projections make of them. Text
    keeps its positions. The last layer computes the asked-for positions alone; where that is one a row, the
    others' keys and values are not computed either.

    Args:
        encoder: transformers' base model, of a type in ``LAYOUTS``; its weights stay where they are.
        gradient_checkpointing: Compute each layer again in the backward pass instead of keeping its inside.
        first_layer: Above 0, only the layers from this one on see a row's whole text, and its prompts; what
            enters them are states that the layers below, which are frozen, made of each part of it alone.
    """

    def __init__(self, encoder: Any, *, gradient_checkpointing: bool = False, first_layer: int = 0) -> None:
        super().__init__()
        self.encoder, self.gradient_checkpointing = encoder, gradient_checkpointing
        self.first_layer = first_layer
        if first_layer:
            layout = LAYOUTS[encoder.config.model_type](encoder)
            trained = {id(p) for module in layout.upper(first_layer) for p in module.parameters()}
            for parameter in encoder.parameters():
                if id(parameter) not in trained:
                    parameter.requires_grad_(False)

    @property
    def num_layers(self) -> int:
        """Layers of the PLM."""
        return self.encoder.config.num_hidden_layers

    @property
    def prompt_layers(self) -> int:
        """L, layers that prompts enter."""
        return self.num_layers - self.first_layer

    @property
    def hidden_size(self) -> int:
        """W."""
        return self.encoder.config.hidden_size

    @property
    def causal(self) -> bool:
        """Text only sees what is before it."""
        return LAYOUTS[self.encoder.config.model_type].causal

    def forward(
        self,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None = None,
        *,
        prompt_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            text: Tokens, ``(B, Z)``; with a ``first_layer`` above 0 the states that enter it, ``(B, Z, W)``.
            lengths: Tokens of each row, ``(B,)``; the rest of a row is padding.
            prompts: ``(L, B, K, W)``; None runs the plain PLM.
            prompt_mask: True where a row's prompts are seen, ``(B, K)``; None shows all.
            positions: Text positions whose last states are wanted, ``(B, P)``; None wants all.

        Returns:
            States behind the last layer, ``(B, P, W)``, or ``(B, Z, W)``.
        """
        rows = self._rows(lengths, text.shape[1], positions)
        end = deque(self._walk(rows, text, prompts, prompt_mask, positions), maxlen=1).pop()
        return rows.unsort(rows.pad(end) if positions is None else end)

    def states(
        self,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None = None,
        *,
        prompt_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> list[Tensor]:
        """As ``forward``, but the states of the text before the first layer and behind each one."""
        rows = self._rows(lengths, text.shape[1], positions)
        *inner, end = self._walk(rows, text, prompts, prompt_mask, positions)
        padded = [*map(rows.pad, inner), rows.pad(end) if positions is None else end]
        return [rows.unsort(states) for states in padded]

    def _rows(self, lengths: Tensor, longest: int, positions: Tensor | None) -> Rows:
        """How the states lie; a single layer that is asked one position of each row does little to each state."""
        one = self.num_layers - self.first_layer == 1 and positions is not None and positions.shape[1] == 1
        return Padded(lengths, longest) if one else lay_out(lengths, longest)

    def _walk(
        self,
        rows: Rows,
        text: Tensor,
        prompts: Tensor | None,
        prompt_mask: Tensor | None,
        positions: Tensor | None,
    ) -> Iterator[Tensor]:
        """The states before the first layer and behind each one, as they lie; of the last one as asked for."""
        # A layout holds the model and no state, so a copy of this module walks through its own
        layout = LAYOUTS[self.encoder.config.model_type](self.encoder)
        text = rows.sort(text)
        states = rows.lay(_in_precision(text if self.first_layer else layout.embed(text)))
        asked, shown = (None if of is None else rows.sort(of) for of in (positions, prompt_mask))
        for index in range(self.first_layer, self.num_layers):
            yield states
            prompt = None if prompts is None else rows.sort(prompts[index - self.first_layer]).to(states.dtype)
            wanted = asked if index == self.num_layers - 1 else None
            arguments = (layout, index, rows, states, wanted, prompt, shown)
            if self.gradient_checkpointing and self.training:
                states = checkpoint(self._layer, *arguments, use_reentrant=False)
            else:
                states = self._layer(*arguments)
        yield layout.finish(states)

    @staticmethod
    def _masks(
        layout: Layout,
        index: int,
        rows: Rows,
        wanted: Sequence[Tensor],
        prompt: Tensor | None,
        shown: Tensor | None,
    ) -> list[Tensor]:
        """Of each part, ``(B', 1, P or 1, Z')``, or with prompts ``(B', 1, P or 1, K + Z')``."""
        of_text = [layout.mask(index, *both) for both in zip(rows.seen, wanted, strict=True)]
        if prompt is None:
            return [mask.unsqueeze(1) for mask in of_text]
        shown = prompt.new_ones(prompt.shape[:2], dtype=torch.bool) if shown is None else shown
        return [
            torch.cat([of.unsqueeze(1).expand(-1, mask.shape[1], -1), mask], dim=2).unsqueeze(1)
            for of, mask in zip(rows.of_parts(shown), of_text, strict=True)
        ]

    @torch.no_grad()
    def alone(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """States that enter ``first_layer``, of texts read alone, ``(B, Z, W)``; arguments as for ``forward``."""
        layout = LAYOUTS[self.encoder.config.model_type](self.encoder)
        rows = lay_out(lengths, input_ids.shape[1])
        states = rows.lay(_in_precision(layout.embed(rows.sort(input_ids))))
        for index in range(self.first_layer):
            states = self._layer(layout, index, rows, states, None, None, None)
        return rows.unsort(rows.pad(states))

    def _layer(
        self,
        layout: Layout,
        index: int,
        rows: Rows,
        states: Tensor,
        asked: Tensor | None,
        prompt: Tensor | None,
        shown: Tensor | None,
    ) -> Tensor:
        """A layer for all states, ``(A, N, W)``, or for those asked for, ``(B, P)``: ``(B, P, W)``."""
        inputs = states if asked is None else rows.at(states, asked)
        query = layout.queries(index, inputs, rows.places if asked is None else asked)
        queries = rows.parts(query) if asked is None else rows.of_parts(query)
        wanted = rows.columns if asked is None else rows.of_parts(asked)
        masks = self._masks(layout, index, rows, wanted, prompt, shown)
        linear = self._linear(layout, index) if asked is not None and asked.shape[1] == 1 else None
        if linear is None:
            attended = self._attend_parts(layout, index, rows, states, prompt, queries, wanted, masks)
        else:
            context = [rows.of_parts(prompt)] if prompt is not None else []
            parts = zip(queries, zip(*context, rows.parts(states), strict=True), masks, strict=True)
            attended = [
                attend_from_one(
                    of_part,
                    read,
                    key=linear[0],
                    value=linear[1],
                    heads=self.encoder.config.num_attention_heads,
                    mask=mask,
                    dropout=layout.attention_dropout(index) if self.training else 0.0,
                    scale=layout.scale(index),
                )
                for of_part, read, mask in parts
            ]
        return layout.combine(index, rows.join(attended) if asked is None else torch.cat(attended), inputs)

    def _attend_parts(
        self,
        layout: Layout,
        index: int,
        rows: Rows,
        states: Tensor,
        prompt: Tensor | None,
        queries: Sequence[Tensor],
        wanted: Sequence[Tensor],
        masks: Sequence[Tensor],
    ) -> list[Tensor]:
        """What the queries of each part, ``(B', P, W)``, which are wanted at some places, attend to."""
        both = layout.keys_values(index, states, rows.places)
        keys, values = map(rows.parts, both)
        in_front = None if prompt is None else self.prompt_keys_values(layout, index, prompt)
        of_prompts = None if in_front is None else [rows.of_parts(of) for of in in_front]
        attended = []
        for part, query in enumerate(queries):
            key, value = keys[part], values[part]
            bias = layout.bias(index, query, key, wanted[part])
            if of_prompts is not None:
                prompt_key, prompt_value = of_prompts[0][part], of_prompts[1][part]
                key, value = torch.cat([prompt_key, key], dim=1), torch.cat([prompt_value, value], dim=1)
                bias = None if bias is None else F.pad(bias, (prompt_key.shape[1], 0))
            attended.append(self._attend(layout, index, query, key, value, masks[part], bias))
        return attended

    def _attend(
        self,
        layout: Layout,
        index: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        return attend(
            query,
            key,
            value,
            heads=self.encoder.config.num_attention_heads,
            mask=mask,
            bias=bias,
            dropout=layout.attention_dropout(index) if self.training else 0.0,
            scale=layout.scale(index),
        )

    def _linear(self, layout: Layout, index: int) -> tuple[nn.Linear, nn.Linear] | None:
        """What makes a layer's keys and values, where it is plain and attention hangs on nothing else."""
        layers = None if layout.scores_have_places else layout.key_value_layers(index)
        if layers is None:
            return None
        key, value = layers
        if type(key) is nn.Linear and type(value) is nn.Linear:  # and not wrapped, by LoRA for one
            return key, value
        return None

    def prompt_keys_values(self, layout: Layout, index: int, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer makes of its prompts, ``(B, K, W)``."""
        return layout.keys_values(index, prompt, None)


def _in_precision(states: Tensor) -> Tensor:
    """In that of matrix products, of which each would else round the states anew, for itself alone."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32)


class SharedPromptedEncoder(PromptedEncoder):
    """Prompts that are keys and values already, ``(L, B, K, 2 W)``: the form of the authors' public code."""

    def _linear(self, layout: Layout, index: int) -> None:
        return None

    def prompt_keys_values(self, layout: Layout, index: int, prompt: Tensor) -> tuple[Tensor, Tensor]:
        key, value = prompt.chunk(2, dim=2)
        return key, value

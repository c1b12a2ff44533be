"""How prompts enter a transformers model (ClickPrompt, Eq. 7)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from recbole_clickprompt.model.plm.attention import attend
from recbole_clickprompt.model.plm.layouts import LAYOUTS, Layout
from recbole_clickprompt.model.plm.one_query import attend_from_one

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
        return self.states(text, lengths, prompts, prompt_mask=prompt_mask, positions=positions)[-1]

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
        # A layout holds the model and no state, so a copy of this module walks through its own
        layout = LAYOUTS[self.encoder.config.model_type](self.encoder)
        places = torch.arange(text.shape[1], device=text.device).unsqueeze(0)  # (1, Z)
        seen = places < lengths.unsqueeze(1)  # (B, Z)
        states = [_in_precision(text if self.first_layer else layout.embed(text))]
        for index in range(self.first_layer, self.num_layers):
            inputs, wanted = states[-1], places
            if positions is not None and index == self.num_layers - 1:
                inputs = inputs.gather(1, positions.unsqueeze(2).expand(-1, -1, self.hidden_size))
                wanted = positions
            prompt = None if prompts is None else prompts[index - self.first_layer].to(inputs.dtype)
            mask = self._mask(layout.mask(index, seen, wanted), prompt, prompt_mask)
            arguments = (layout, index, inputs, wanted, states[-1], places, prompt, mask)
            if self.gradient_checkpointing and self.training:
                states.append(checkpoint(self._layer, *arguments, use_reentrant=False))
            else:
                states.append(self._layer(*arguments))
        states[-1] = layout.finish(states[-1])
        return states

    @staticmethod
    def _mask(of_text: Tensor, prompt: Tensor | None, prompt_mask: Tensor | None) -> Tensor:
        """``(B, 1, P or 1, Z)``, or with prompts ``(B, 1, P or 1, K + Z)``; from ``(B, P or 1, Z)``."""
        if prompt is None:
            return of_text.unsqueeze(1)
        shown = of_text.new_ones(prompt.shape[:2]) if prompt_mask is None else prompt_mask
        return torch.cat([shown.unsqueeze(1).expand(-1, of_text.shape[1], -1), of_text], dim=2).unsqueeze(1)

    @torch.no_grad()
    def alone(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """States that enter ``first_layer``, of texts read alone, ``(B, Z, W)``; arguments as for ``forward``."""
        layout = LAYOUTS[self.encoder.config.model_type](self.encoder)
        places = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        seen = places < lengths.unsqueeze(1)
        states = _in_precision(layout.embed(input_ids))
        for index in range(self.first_layer):
            mask = layout.mask(index, seen, places).unsqueeze(1)
            states = self._layer(layout, index, states, places, states, places, None, mask)
        return states

    def _layer(
        self,
        layout: Layout,
        index: int,
        inputs: Tensor,
        wanted: Tensor,
        context: Tensor,
        places: Tensor,
        prompt: Tensor | None,
        mask: Tensor,
    ) -> Tensor:
        query = layout.queries(index, inputs, wanted)
        linear = self._linear(layout, index) if wanted is not places and wanted.shape[1] == 1 else None
        if linear is not None:
            attended = attend_from_one(
                query,
                [context] if prompt is None else [prompt, context],
                key=linear[0],
                value=linear[1],
                heads=self.encoder.config.num_attention_heads,
                mask=mask,
                dropout=layout.attention_dropout(index) if self.training else 0.0,
                scale=layout.scale(index),
            )
            return layout.combine(index, attended, inputs)
        key, value = layout.keys_values(index, context, places)
        bias = layout.bias(index, query, key, wanted)
        if prompt is not None:
            prompt_key, prompt_value = self.prompt_keys_values(layout, index, prompt)
            key, value = torch.cat([prompt_key, key], dim=1), torch.cat([prompt_value, value], dim=1)
            bias = None if bias is None else F.pad(bias, (prompt.shape[1], 0))
        return layout.combine(index, self._attend(layout, index, query, key, value, mask, bias), inputs)

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

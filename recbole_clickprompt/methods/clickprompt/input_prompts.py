"""Prompts in front of the first layer alone (ClickPrompt, Table 4, "w/o layerwise")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from recbole_clickprompt.plm.architectures import LAYOUTS, Layout
from recbole_clickprompt.plm.encoder import PromptedEncoder

__all__ = ["InputPromptedEncoder"]


class InputPromptedEncoder(PromptedEncoder):
    """Prompts enter in front of the first layer only and stay in the sequence ("w/o layerwise", Table 4).

    They are ordinary states there, but for their position: text keeps its own, prompts have none.
    """

    @property
    def prompt_layers(self) -> int:
        return 1

    def forward(self, *arguments: Any, **options: Any) -> Tensor:
        return self.states(*arguments, **options)[-1]

    def states(
        self,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None = None,
        *,
        prompt_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> list[Tensor]:
        if prompts is None:
            return super().states(text, lengths, positions=positions)
        layout = LAYOUTS[self.encoder.config.model_type](self.encoder)
        (prompt,) = prompts
        count = prompt.shape[1]
        places = torch.arange(text.shape[1], device=text.device).unsqueeze(0)
        seen = places < lengths.unsqueeze(1)
        shown = seen.new_ones(seen.shape[0], count) if prompt_mask is None else prompt_mask
        embedded = layout.embed(text)
        states = [torch.cat([prompt.to(embedded.dtype), embedded], dim=1)]  # (B, K + Z, W)
        for index in range(self.num_layers):
            mask = self._joint_mask(layout.mask(index, seen, places), shown, seen)
            arguments = (layout, index, states[-1], count, places, mask)
            if self.gradient_checkpointing and self.training:
                states.append(checkpoint(self._joint_layer, *arguments, use_reentrant=False))
            else:
                states.append(self._joint_layer(*arguments))
        states[-1] = layout.finish(states[-1])
        outputs = [both[:, count:] for both in states]
        if positions is not None:
            outputs[-1] = outputs[-1].gather(1, positions.unsqueeze(2).expand(-1, -1, self.hidden_size))
        return outputs

    def _joint_layer(
        self, layout: Layout, index: int, states: Tensor, count: int, places: Tensor, mask: Tensor
    ) -> Tensor:
        prompt, words = states[:, :count], states[:, count:]
        query = layout.queries(index, words, places)
        keys, values = zip(
            layout.keys_values(index, prompt, None), layout.keys_values(index, words, places), strict=True
        )
        bias = layout.bias(index, query, keys[1], places)
        bias = None if bias is None else F.pad(bias, (count, 0, count, 0))
        query = torch.cat([layout.queries(index, prompt, None), query], dim=1)
        attended = self._attend(layout, index, query, torch.cat(keys, 1), torch.cat(values, 1), mask, bias)
        return layout.combine(index, attended, states)

    def _joint_mask(self, of_text: Tensor, shown: Tensor, seen: Tensor) -> Tensor:
        """``(B, 1, K + Z, K + Z)``: text sees prompts and text; prompts see each other and, not causal, text."""
        (batch, count), length = shown.shape, seen.shape[1]
        text_rows = torch.cat(
            [shown.unsqueeze(1).expand(-1, length, -1), of_text.expand(batch, length, -1)], dim=2
        )
        to_prompts = shown.unsqueeze(1).expand(-1, count, -1)
        to_text = seen.unsqueeze(1).expand(-1, count, -1)
        if self.causal:
            to_prompts, to_text = to_prompts.tril(), torch.zeros_like(to_text)
        # each prompt sees itself, also where it is hidden: a row that sees nothing has no softmax
        to_prompts = to_prompts | torch.eye(count, dtype=torch.bool, device=shown.device)
        prompt_rows = torch.cat([to_prompts, to_text], dim=2)
        return torch.cat([prompt_rows, text_rows], dim=1).unsqueeze(1)

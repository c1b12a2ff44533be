"""Prompts before the first layer only (ClickPrompt, Table 4, "w/o layerwise")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from recbole_clickprompt.plm.architectures import LayerAdapter
from recbole_clickprompt.plm.encoder import PromptedEncoder, gather_positions

__all__ = ["InputPromptedEncoder"]


class InputPromptedEncoder(PromptedEncoder):
    """Prompts enter before the first layer only and stay in the sequence ("w/o layerwise", Table 4).

    They are ordinary states there, except for their position: text keeps its own, prompts have none.
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
        architecture = self.architecture
        (prompt,) = prompts
        count = prompt.shape[1]
        text_positions = torch.arange(text.shape[1], device=text.device).unsqueeze(0)
        seen = text_positions < lengths.unsqueeze(1)
        shown = seen.new_ones(seen.shape[0], count) if prompt_mask is None else prompt_mask
        embedded = architecture.embed(text)
        states = [torch.cat([prompt.to(embedded.dtype), embedded], dim=1)]  # (B, K + Z, W)
        for index in range(self.num_layers):
            layer = architecture.layer(index)
            mask = self._joint_mask(layer.mask(seen, text_positions), shown, seen)
            if self.gradient_checkpointing and self.training:
                states.append(checkpoint(self._joint_layer, layer, states[-1], count, mask, use_reentrant=False))
            else:
                states.append(self._joint_layer(layer, states[-1], count, mask))
        states[-1] = architecture.final_norm(states[-1])
        outputs = [both[:, count:] for both in states]
        if positions is not None:
            outputs[-1] = gather_positions(outputs[-1], positions)
        return outputs

    def _joint_layer(self, layer: LayerAdapter, states: Tensor, count: int, mask: Tensor) -> Tensor:
        """A layer over K = ``count`` prompts and the text, ``(B, K + Z, W)``."""
        prompt, text = states[:, :count], states[:, count:]
        positions = torch.arange(text.shape[1], device=text.device).unsqueeze(0)
        text_query = layer.queries(text, positions)
        prompt_keys, prompt_values = layer.keys_values(prompt, None)
        text_keys, text_values = layer.keys_values(text, positions)
        bias = layer.bias(text_query, text_keys, positions)
        attended = self._attend(
            layer,
            torch.cat([layer.queries(prompt, None), text_query], dim=1),
            torch.cat([prompt_keys, text_keys], dim=1),
            torch.cat([prompt_values, text_values], dim=1),
            mask=mask,
            bias=None if bias is None else F.pad(bias, (count, 0, count, 0)),
        )
        return layer.combine(attended, states)

    def _joint_mask(self, text_mask: Tensor, shown: Tensor, seen: Tensor) -> Tensor:
        """Text attends to prompts and text; prompts attend to each other and, if not causal, to text.

        Args:
            text_mask: What text attends to in the text, ``(B, Z or 1, Z)``.
            shown: True at prompts that are attended to, ``(B, K)``.
            seen: False at padding, ``(B, Z)``.

        Returns:
            ``(B, 1, K + Z, K + Z)``.
        """
        (batch, count), length = shown.shape, seen.shape[1]
        text_rows = torch.cat(
            [shown.unsqueeze(1).expand(-1, length, -1), text_mask.expand(batch, length, -1)], dim=2
        )
        to_prompts = shown.unsqueeze(1).expand(-1, count, -1)
        to_text = seen.unsqueeze(1).expand(-1, count, -1)
        if self.causal:
            to_prompts, to_text = to_prompts.tril(), torch.zeros_like(to_text)
        # Each prompt attends to itself, also where it is hidden: a row that attends to nothing has no softmax
        to_prompts = to_prompts | torch.eye(count, dtype=torch.bool, device=shown.device)
        prompt_rows = torch.cat([to_prompts, to_text], dim=2)
        return torch.cat([prompt_rows, text_rows], dim=1).unsqueeze(1)

"""How prompts enter a transformers model (ClickPrompt, Eq. 7)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recbole_clickprompt.model.plm.layouts import LAYOUTS

__all__ = ["PromptedEncoder"]


class PromptedEncoder(nn.Module):
    """A PLM in which the text of every layer also attends to that layer's prompts.

    Eq. 7 puts K prompts in front of the states of each layer and drops their outputs. As nobody reads those
    outputs, prompts are needed as keys and values only: the layer's own projections of them join those of the
    text. Text keeps its positions. The last layer computes the asked-for positions alone.

    Args:
        encoder: transformers' base model, of a type in ``LAYOUTS``; its weights stay where they are.
        gradient_checkpointing: Compute each layer again in the backward pass instead of keeping its inside.
    """

    def __init__(self, encoder: Any, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.encoder, self.gradient_checkpointing = encoder, gradient_checkpointing

    @property
    def num_layers(self) -> int:
        """L."""
        return self.encoder.config.num_hidden_layers

    @property
    def hidden_size(self) -> int:
        """W."""
        return self.encoder.config.hidden_size

    @property
    def causal(self) -> bool:
        """Text only sees what is before it."""
        return LAYOUTS[self.encoder.config.model_type].causal

    def summary_positions(self, lengths: Tensor) -> Tensor:
        """Where a text is summed up: its first token, or the last one where text only sees what is before it.

        Args:
            lengths: Tokens of each row, ``(B,)``.

        Returns:
            ``(B, 1)``.
        """
        return (lengths - 1 if self.causal else torch.zeros_like(lengths)).unsqueeze(1)

    def forward(
        self,
        input_ids: Tensor,
        lengths: Tensor,
        prompts: Tensor | None = None,
        *,
        prompt_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            input_ids: Tokens, ``(B, Z)``.
            lengths: Tokens of each row, ``(B,)``; the rest of a row is padding.
            prompts: ``(L, B, K, W)``; None runs the plain PLM.
            prompt_mask: True where a row's prompts are seen, ``(B, K)``; None shows all.
            positions: Text positions whose last states are wanted, ``(B, P)``; None wants all.

        Returns:
            States behind the last layer, ``(B, P, W)``, or ``(B, Z, W)``.
        """
        # A layout holds the model and no state, so a copy of this module walks through its own
        layout = LAYOUTS[self.encoder.config.model_type](self.encoder)
        every = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)  # (1, Z)
        seen = every < lengths.unsqueeze(1)  # (B, Z)
        num_prompts = 0 if prompts is None else prompts.shape[2]
        if prompts is not None and prompt_mask is None:
            prompt_mask = seen.new_ones(len(seen), num_prompts)

        states = layout.embed(input_ids)
        for index in range(self.num_layers):
            wanted, inputs, context = every, states, states
            if positions is not None and index == self.num_layers - 1:
                wanted = positions
                inputs = states.gather(1, positions.unsqueeze(2).expand(-1, -1, self.hidden_size))
            mask = layout.mask(index, seen, wanted)  # (B, P or 1, Z)
            if prompts is not None and prompt_mask is not None:
                context = torch.cat([prompts[index].to(states.dtype), states], dim=1)
                mask = torch.cat([prompt_mask.unsqueeze(1).expand(-1, mask.shape[1], -1), mask], dim=2)
            arguments = (index, inputs, context, mask.unsqueeze(1), wanted, num_prompts)
            if self.gradient_checkpointing and self.training:
                states = checkpoint(layout.layer, *arguments, use_reentrant=False)
            else:
                states = layout.layer(*arguments)
        return layout.finish(states)

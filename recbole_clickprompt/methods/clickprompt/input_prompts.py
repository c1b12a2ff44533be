"""Prompts before the first layer only (ClickPrompt, Table 4, "w/o layerwise")."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.prompted_layer import PromptedLayer, gather_positions

__all__ = ["InputPromptedEncoder"]


class InputPromptedEncoder(PromptedEncoder):
    """Prompts enter before the first layer only and stay in the sequence ("w/o layerwise", Table 4).

    They are ordinary states of every layer, except for their position: text keeps its own, prompts have none. The
    mask of one row, True where the query of a line attends to the column::

                            keys, values:  | prompt 1 ... prompt K     | token 1 ... token Z       |
                                           +---------------------------+---------------------------+
        queries of prompts 1 ... K         | shown, or the same prompt | seen; causal PLM: nothing |
        queries of tokens 1 ... Z          | shown                     | adapter.mask              |
                                           +---------------------------+---------------------------+

    In a causal PLM a prompt also attends to no later prompt.
    """

    @property
    def prompt_layers(self) -> int:
        """1: prompts are generated for the first layer only."""
        return 1

    def forward(
        self,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None = None,
        *,
        prompt_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """As for ``PromptedEncoder``; prompts are ``(1, B, K, W)``."""
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
        """As for ``PromptedEncoder``, without the states at prompts; prompts are ``(1, B, K, W)``."""
        if prompts is None:
            return super().states(text, lengths, positions=positions)
        architecture = self.architecture
        (prompt,) = prompts
        count = prompt.shape[1]
        text_positions = torch.arange(text.shape[1], device=text.device).unsqueeze(0)  # (1, Z)
        seen = text_positions < lengths.unsqueeze(1)  # (B, Z)
        shown = seen.new_ones(seen.shape[0], count) if prompt_mask is None else prompt_mask  # (B, K)
        embedded = architecture.embed(text)
        states = [torch.cat([prompt.to(embedded.dtype), embedded], dim=1)]  # (B, K + Z, W)
        for index in range(self.num_layers):
            layer = self.layer(index)
            mask = self._sequence_mask(layer.adapter.mask(seen, text_positions), shown, seen)
            arguments = (layer, states[-1], count, mask)
            if self.gradient_checkpointing and self.training:
                states.append(checkpoint(_run_on_sequence, *arguments, use_reentrant=False))
            else:
                states.append(_run_on_sequence(*arguments))
        states[-1] = architecture.final_norm(states[-1])
        outputs = [sequence[:, count:] for sequence in states]
        if positions is not None:
            outputs[-1] = gather_positions(outputs[-1], positions)
        return outputs

    def _sequence_mask(self, text_mask: Tensor, shown: Tensor, seen: Tensor) -> Tensor:
        """The mask drawn at the class.

        Args:
            text_mask: Tokens that each token attends to, ``(B, Z or 1, Z)``.
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
        # Each prompt attends to itself, even where it is hidden: the softmax of a row without any key is NaN
        to_prompts = to_prompts | torch.eye(count, dtype=torch.bool, device=shown.device)
        prompt_rows = torch.cat([to_prompts, to_text], dim=2)
        return torch.cat([prompt_rows, text_rows], dim=1).unsqueeze(1)


def _run_on_sequence(layer: PromptedLayer, states: Tensor, count: int, mask: Tensor) -> Tensor:
    """Outputs of a layer, ``(B, K + Z, W)``.

    Args:
        layer: The layer.
        states: States of the prompts, then of the text, ``(B, K + Z, W)``.
        count: K.
        mask: True where a query attends, ``(B, 1, K + Z, K + Z)``.
    """
    adapter = layer.adapter
    prompt, text = states[:, :count], states[:, count:]
    positions = torch.arange(text.shape[1], device=text.device).unsqueeze(0)
    text_query = adapter.queries(text, positions)
    prompt_keys, prompt_values = adapter.keys_values(prompt, None)
    text_keys, text_values = adapter.keys_values(text, positions)
    bias = adapter.bias(text_query, text_keys, positions)
    attended = layer.attend(
        torch.cat([adapter.queries(prompt, None), text_query], dim=1),
        torch.cat([prompt_keys, text_keys], dim=1),
        torch.cat([prompt_values, text_values], dim=1),
        mask=mask,
        bias=None if bias is None else F.pad(bias, (count, 0, count, 0)),
    )
    return adapter.combine(attended, states)

"""How the states of a text become one vector (ClickPrompt, Eq. 8). Letters: see ``plm/__init__.py``."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_clickprompt.plm.encoder import PromptedEncoder

__all__ = ["POOLINGS", "AveragePooling", "SummaryPooling", "build_pooling"]

# Layers whose states are averaged; 0 is the input of the first one
_AVERAGED = {"avg": (-1,), "avg_first_last": (0, -1), "avg_top2": (-2, -1)}
POOLINGS = ("cls", *_AVERAGED)


class SummaryPooling:
    """``plm_pooling: cls``: the last state of the first token, or in a causal PLM of the last token."""

    def __call__(
        self,
        plm: PromptedEncoder,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Runs the PLM, its last layer for one position per row only.

        Args:
            plm: The encoder.
            text: As for ``PromptedEncoder.forward``, like the remaining arguments.
            lengths: Tokens of each row, ``(B,)``.
            prompts: ``(L, B, K, W)`` or None.
            prompt_mask: ``(B, K)`` or None.

        Returns:
            ``(B, W)``.
        """
        position = lengths - 1 if plm.causal else torch.zeros_like(lengths)
        return plm(text, lengths, prompts, prompt_mask=prompt_mask, positions=position.unsqueeze(1))[:, 0]


class AveragePooling:
    """The mean over the text positions of a row and over one or two layers.

    Args:
        layers: Indices into ``PromptedEncoder.states``.
    """

    def __init__(self, layers: tuple[int, ...]) -> None:
        self.layers = layers

    def __call__(
        self,
        plm: PromptedEncoder,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Runs the PLM for all positions; arguments and return value as for ``SummaryPooling``."""
        states = plm.states(text, lengths, prompts, prompt_mask=prompt_mask)
        mean = torch.stack([states[layer] for layer in self.layers]).mean(0)  # (B, Z, W)
        seen = torch.arange(mean.shape[1], device=mean.device) < lengths.unsqueeze(1)  # (B, Z)
        return (mean * seen.unsqueeze(2)).sum(1) / lengths.unsqueeze(1)


def build_pooling(name: str) -> SummaryPooling | AveragePooling:
    """The pooling of the setting ``plm_pooling``, one of ``POOLINGS``.

    Raises:
        KeyError: There is no such pooling; the setting is checked before.
    """
    return SummaryPooling() if name == "cls" else AveragePooling(_AVERAGED[name])

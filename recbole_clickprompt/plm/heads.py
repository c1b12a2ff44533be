"""How masked tokens are predicted from the outputs of the prompted encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.text.masking import MaskedTokens

__all__ = ["DecoderHead", "TokenHead", "restrict_vocabulary"]


class TokenHead(nn.Module):
    """An encoder's or a causal PLM's own LM head, applied to the states of masked positions only; N of them.

    Args:
        head: Makes vocabulary logits, ``(N, V)``, of states, ``(N, W)``.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        plm: PromptedEncoder,
        masked: MaskedTokens,
        lengths: Tensor,
        prompts: Tensor | None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            plm: Encoder that the prompts enter.
            masked: Corrupted text and the tokens to recover.
            lengths: Of the rows, ``(B,)``.
            prompts: ``(L, B, K, W)``.
            prompt_mask: As the encoder takes it.

        Returns:
            Vocabulary logits at the N masked positions, ``(N, V)``.
        """
        states = plm(
            masked.text, lengths, prompts, prompt_mask=prompt_mask, positions=masked.positions
        )  # (B, P, W)
        return self.head(states[masked.labels >= 0])


class _SubsetLinear(nn.Module):
    """A linear layer that computes only some of its outputs.

    Args:
        linear: The layer; its weights are not copied.
        rows: Indices of the outputs, ``(V',)``.
    """

    def __init__(self, linear: nn.Linear, rows: Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.rows: Tensor
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """``(N, W)`` to ``(N, V')``."""
        bias = None if self.linear.bias is None else self.linear.bias[self.rows]
        return F.linear(states, self.linear.weight[self.rows], bias)


def restrict_vocabulary(head: nn.Module, tokens: Tensor) -> nn.Module:
    """An LM head whose last layer computes the logits of some tokens only, ``(N, V')``.

    Args:
        head: As ``TokenHead`` takes it; changed in place unless it is a single layer.
        tokens: The V' tokens that text may contain, ``(V',)``.
    """
    if isinstance(head, nn.Linear):
        return _SubsetLinear(head, tokens)
    *_, (name, last) = ((n, m) for n, m in head.named_modules() if isinstance(m, nn.Linear))
    parent, _, attribute = name.rpartition(".")
    setattr(head.get_submodule(parent), attribute, _SubsetLinear(last, tokens))
    return head


class DecoderHead(nn.Module):
    """The decoder of an encoder-decoder PLM (BART), which predicts the original text.

    It reads the original tokens before each one, as in BART's own pretraining; only masked positions count.

    Args:
        model: transformers' model for conditional generation.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.lm_head = model.model.decoder, model.lm_head
        self.start = model.config.decoder_start_token_id
        self.bias: Tensor
        self.register_buffer("bias", model.final_logits_bias.clone(), persistent=False)

    def forward(
        self,
        plm: PromptedEncoder,
        masked: MaskedTokens,
        lengths: Tensor,
        prompts: Tensor | None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Arguments and return value as for ``TokenHead``."""
        states = plm(masked.text, lengths, prompts, prompt_mask=prompt_mask)
        row, slot = torch.nonzero(masked.labels >= 0, as_tuple=True)
        original = masked.text.clone()
        original[row, masked.positions[row, slot]] = masked.labels[row, slot]
        before = torch.cat([original.new_full((len(original), 1), self.start), original[:, :-1]], dim=1)
        seen = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)
        decoded = self.decoder(
            input_ids=before, encoder_hidden_states=states, encoder_attention_mask=seen.long(), use_cache=False
        ).last_hidden_state
        return self.lm_head(decoded[row, masked.positions[row, slot]]) + self.bias

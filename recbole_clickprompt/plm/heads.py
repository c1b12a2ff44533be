"""How masked text is recovered from what the prompted encoder makes of the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.text.masking import MaskedTokens

__all__ = ["DecoderHead", "TokenHead", "restrict_vocabulary"]


class TokenHead(nn.Module):
    """An encoder's or a causal PLM's own LM head, on the states at the asked-for positions alone.

    Args:
        head: States ``(N, W)`` to vocabulary logits ``(N, V)``.
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
            masked: Corrupted text and what is asked for.
            lengths: Of the rows, ``(B,)``.
            prompts: ``(L, B, K, W)``.
            prompt_mask: As the encoder takes it.

        Returns:
            Vocabulary logits at the N asked-for positions, ``(N, V)``.
        """
        states = plm(
            masked.text, lengths, prompts, prompt_mask=prompt_mask, positions=masked.positions
        )  # (B, M, W)
        return self.head(states[masked.labels >= 0])


class _SomeRows(nn.Module):
    """A linear layer of which only some outputs are computed.

    Args:
        linear: The layer; its weights stay where they are.
        rows: The outputs, ``(V',)``.
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
    """An LM head that gives the logits of some tokens alone, ``(N, V')``, by its own last layer.

    Args:
        head: What ``TokenHead`` takes; changed, where its last layer is inside it.
        tokens: Those that text may hold, ``(V',)``.
    """
    if isinstance(head, nn.Linear):
        return _SomeRows(head, tokens)
    *_, (name, last) = ((n, m) for n, m in head.named_modules() if isinstance(m, nn.Linear))
    parent, _, attribute = name.rpartition(".")
    setattr(head.get_submodule(parent), attribute, _SomeRows(last, tokens))
    return head


class DecoderHead(nn.Module):
    """The decoder of an encoder-decoder PLM (BART), which writes the intact text from that of the encoder.

    It is given the tokens before each one, as in BART's own pretraining; only masked ones count.

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
        """Arguments and answer as for ``TokenHead``."""
        states = plm(masked.text, lengths, prompts, prompt_mask=prompt_mask)
        asked = masked.labels >= 0
        row, slot = torch.nonzero(asked, as_tuple=True)
        intact = masked.text.clone()
        intact[row, masked.positions[row, slot]] = masked.labels[row, slot]
        before = torch.cat([intact.new_full((len(intact), 1), self.start), intact[:, :-1]], dim=1)
        seen = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)
        written = self.decoder(
            input_ids=before, encoder_hidden_states=states, encoder_attention_mask=seen.long(), use_cache=False
        ).last_hidden_state
        return self.lm_head(written[row, masked.positions[row, slot]]) + self.bias

"""How masked tokens are predicted from the outputs of the prompted encoder.

Letters: see ``plm/__init__.py``; ``masked`` in a shape is the number of masked positions of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.text.masking import MaskedTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["DecoderHead", "TokenHead", "restrict_vocabulary"]


class TokenHead(nn.Module):
    """The LM head of an encoder or of a causal PLM, applied to the states of masked positions only.

    Args:
        head: Maps states, ``(masked, W)``, to vocabulary logits, ``(masked, V)``.
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
            lengths: Tokens of each row, ``(B,)``.
            prompts: Prompts of each layer, ``(L, B, K, W)``; None runs the plain PLM.
            prompt_mask: True where a row attends to its prompts, ``(B, K)``; None is everywhere.

        Returns:
            Vocabulary logits, ``(masked, V)``: row after row, in each row in the order of ``masked.positions``.
        """
        states = plm(
            masked.text, lengths, prompts, prompt_mask=prompt_mask, positions=masked.positions
        )  # (B, P, W)
        return self.head(states[masked.labels >= 0])


class _SubsetLinear(nn.Module):
    """A linear layer that computes only a subset of its outputs.

    Args:
        linear: The layer; its weights are not copied.
        rows: Indices of the outputs to compute, ``(V,)``.
    """

    def __init__(self, linear: nn.Linear, rows: Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.rows: Tensor
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Logits of the subset, ``(masked, V)``, of states ``(masked, W)``."""
        bias = None if self.linear.bias is None else self.linear.bias[self.rows]
        return F.linear(states, self.linear.weight[self.rows], bias)


def restrict_vocabulary(head: nn.Module, tokens: Tensor) -> nn.Module:
    """Restricts an LM head to a subset of the vocabulary.

    Args:
        head: The head of a ``TokenHead``; changed in place unless it is a single linear layer.
        tokens: Tokens that may occur in the text, ``(V,)`` int64.

    Returns:
        A head whose logits, ``(masked, V)``, are in the order of ``tokens``.
    """
    if isinstance(head, nn.Linear):
        return _SubsetLinear(head, tokens)
    *_, (name, last) = ((n, m) for n, m in head.named_modules() if isinstance(m, nn.Linear))
    parent, _, attribute = name.rpartition(".")
    setattr(head.get_submodule(parent), attribute, _SubsetLinear(last, tokens))
    return head


class DecoderHead(nn.Module):
    """The decoder of an encoder-decoder PLM (BART), which predicts the original text.

    At each position it reads the original tokens before it (teacher forcing), as in BART's own pretraining; only
    the predictions at masked positions count::

        encoder reads     [CLS] user  [M] is  u0     . [SEP]     and the prompts
        decoder reads    start [CLS] user  ID is    u0     .     and the encoder's outputs
        decoder predicts  [CLS] user  ID  is  u0     . [SEP]     of which "ID" counts

    Args:
        model: transformers' model for conditional generation.
    """

    def __init__(self, model: PreTrainedModel) -> None:
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
        """Arguments and return value as for ``TokenHead.forward``."""
        states = plm(masked.text, lengths, prompts, prompt_mask=prompt_mask)  # (B, Z, W)
        row, slot = torch.nonzero(masked.labels >= 0, as_tuple=True)
        original = masked.text.clone()  # the text before masking, (B, Z)
        original[row, masked.positions[row, slot]] = masked.labels[row, slot]
        shifted = torch.cat([original.new_full((len(original), 1), self.start), original[:, :-1]], dim=1)
        seen = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)  # (B, Z)
        decoded = self.decoder(
            input_ids=shifted, encoder_hidden_states=states, encoder_attention_mask=seen.long(), use_cache=False
        ).last_hidden_state
        return self.lm_head(decoded[row, masked.positions[row, slot]]) + self.bias

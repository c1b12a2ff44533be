"""How masked tokens are predicted from the outputs of the prompted encoder.

Letters: see ``plm/__init__.py``; ``masked`` in a shape is the number of masked positions of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.text.masking import MaskedTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["DecoderHead", "LMHead", "SentinelHead", "TokenHead", "restrict_vocabulary"]


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


class SentinelHead(nn.Module):
    """The decoder of T5, which predicts masked tokens in the format of T5's own pretraining.

    Each masked token is replaced by a sentinel token of its own, in the order of the text; the decoder reads every
    sentinel followed by the original token (teacher forcing), and its predictions after the sentinels count::

        encoder reads     user <0> is <1> . </s>           and the prompts
        decoder reads    start <0>  ID  <1>  u0            and the encoder's outputs
        decoder predicts        ID        u0

    Neighboring masked tokens have two sentinels, whereas T5 was pretrained with one for the whole span. No masked
    token is kept or replaced by a random one.

    Args:
        model: transformers' T5 for conditional generation.
        sentinels: The tokens ``<0>``, ``<1>``, ... of its tokenizer.
    """

    def __init__(self, model: PreTrainedModel, sentinels: Sequence[int]) -> None:
        super().__init__()
        self.decoder, self.lm_head = model.decoder, model.lm_head
        self.start = model.config.decoder_start_token_id
        self.scale = model.config.d_model**-0.5 if model.config.scale_decoder_outputs else 1.0
        self.sentinels: Tensor
        self.register_buffer("sentinels", torch.tensor(sentinels), persistent=False)

    def forward(
        self,
        plm: PromptedEncoder,
        masked: MaskedTokens,
        lengths: Tensor,
        prompts: Tensor | None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Arguments and return value as for ``TokenHead.forward``.

        Raises:
            SettingError: A row has more masked tokens than there are sentinels.
        """
        used, count = masked.labels >= 0, masked.positions.shape[1]
        if count > len(self.sentinels):
            raise SettingError(
                f"{count} tokens of a row are masked, but the tokenizer of this 't5' model has "
                f"{len(self.sentinels)} sentinels (<extra_id_0>, ...); lower mask_ratio or max_text_length"
            )
        row, slot = torch.nonzero(used, as_tuple=True)
        position = masked.positions.masked_fill(~used, masked.text.shape[1])
        rank = position.argsort(dim=1).argsort(dim=1)[row, slot]  # of a masked token among those of its row
        text = masked.text.clone()
        text[row, masked.positions[row, slot]] = self.sentinels[rank]
        states = plm(text, lengths, prompts, prompt_mask=prompt_mask)  # (B, Z, W)
        read = text.new_full((len(text), 2 * count + 1), self.start)
        read[row, 2 * rank + 1] = self.sentinels[rank]
        read[row, 2 * rank + 2] = masked.labels[row, slot]
        seen = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(1)  # (B, Z)
        decoded = self.decoder(
            input_ids=read[:, :-1],
            encoder_hidden_states=states,
            encoder_attention_mask=seen.long(),
            use_cache=False,
        ).last_hidden_state  # (B, 2 P, W)
        return self.lm_head(self.scale * decoded[row, 2 * rank + 1])


LMHead: TypeAlias = TokenHead | DecoderHead | SentinelHead

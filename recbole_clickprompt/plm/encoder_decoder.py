"""An encoder-decoder, used unchanged. Letters: see ``plm/__init__.py``; Y tokens that the decoder reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["EncoderDecoder"]


class EncoderDecoder(nn.Module):
    """Reads a text, and predicts the tokens of an answer.

    Args:
        model: transformers' model for conditional generation; its weights are not copied.

    Attributes:
        encoder: The same model, its decoder included: under this name serving finds the config of a PLM.
        start: The token that answers start with, before their first one.

    Raises:
        WeightsError: The model does not say what answers start with.
    """

    num_frozen_layers = 0

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = model
        self.start = model.config.decoder_start_token_id
        if self.start is None:
            raise WeightsError(
                f"the config.json of this {model.config.model_type!r} model has no decoder_start_token_id, with "
                "which answers start; add it"
            )

    @property
    def hidden_size(self) -> int:
        """W, the width of the states."""
        return self.encoder.config.hidden_size

    def forward(self, text: Tensor, lengths: Tensor, answers: Tensor, *, added: Tensor | None = None) -> Tensor:
        """
        Args:
            text: Tokens, ``(B, Z)``.
            lengths: Tokens of each row, ``(B,)``; the rest of a row is padding.
            answers: What the decoder reads after the start token, ``(B, Y - 1)``.
            added: Added to the embeddings of the tokens, ``(B, Z, W)``; None adds nothing.

        Returns:
            Logits of the next token at each position of the decoder, ``(B, Y, V)`` float32.
        """
        embedded = self.encoder.get_input_embeddings()(text)
        if added is not None:
            embedded = embedded + added.to(embedded.dtype)
        seen = torch.arange(text.shape[1], device=text.device) < lengths.unsqueeze(1)
        start = answers.new_full((text.shape[0], 1), self.start)
        return self.encoder(
            inputs_embeds=embedded,
            attention_mask=seen.long(),
            decoder_input_ids=torch.cat([start, answers], dim=1),
            use_cache=False,
        ).logits.float()

"""Answers that a student writes itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from recbole_clickprompt.knowledge.answers import Answer, AnswerError, parse

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Written", "write_answers"]

_TEXTS_AT_ONCE = 32
_LABEL = re.compile(r"\s*\b(Explicit|Implicit):")


class Written(NamedTuple):
    """An answer that a student wrote.

    Attributes:
        text: What it wrote after ``Reasoning:``.
        tokens: Number of tokens without the end token.
        ended: Whether it ended by itself.
    """

    text: str
    tokens: int
    ended: bool

    def parsed(self) -> Answer | None:
        """The answer in it; None if there is none."""
        # Tokenizers such as T5's make a blank of a line end
        text = _LABEL.sub(r"\n\1:", self.text)
        try:
            return parse(f"Reasoning:{text}")
        except AnswerError:
            return None


@torch.no_grad()
def write_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    inputs: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    candidates: Tensor | None = None,
) -> list[Written]:
    """Continues inputs with the most likely token each time, in batches of similar length.

    Args:
        model: A causal model or an encoder-decoder, in evaluation mode.
        tokenizer: Its tokenizer.
        inputs: Token ids that it reads.
        max_tokens: Most tokens of an answer.
        candidates: The tokens that it may write; None for the whole vocabulary.

    Returns:
        In the order of the inputs.
    """
    from transformers import GenerationConfig

    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
        suppress_tokens=None if candidates is None else _others(candidates, model.config.vocab_size),
    )
    written: list[Written | None] = [None] * len(inputs)
    order = sorted(range(len(inputs)), key=lambda number: len(inputs[number]))
    for begin in range(0, len(order), _TEXTS_AT_ONCE):
        numbers = order[begin : begin + _TEXTS_AT_ONCE]
        width = max(len(inputs[number]) for number in numbers)
        ids = torch.full((len(numbers), width), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, number in enumerate(numbers):
            tokens = torch.tensor(inputs[number])
            # A causal model continues the last column
            place = slice(0, len(tokens)) if model.config.is_encoder_decoder else slice(width - len(tokens), None)
            ids[row, place], mask[row, place] = tokens, 1
        result = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=greedy
        )
        first = 1 if model.config.is_encoder_decoder else width  # an encoder-decoder's answer has its start token
        for number, row in zip(numbers, result[:, first:].tolist(), strict=True):
            ended = tokenizer.eos_token_id in row
            answer = row[: row.index(tokenizer.eos_token_id)] if ended else row
            written[number] = Written(tokenizer.decode(answer, skip_special_tokens=True), len(answer), ended)
    return [answer for answer in written if answer is not None]


def _others(candidates: Tensor, vocabulary: int) -> list[int]:
    """All tokens that are no candidates."""
    other = torch.ones(vocabulary, dtype=torch.bool)
    other[candidates.cpu()] = False
    return other.nonzero().flatten().tolist()

"""P5's model: an encoder-decoder whose first token of the answer, "yes" or "no", is the score.

Letters: see ``plm/__init__.py``; Y tokens of an answer, its end token included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.p5.whole_words import build_whole_words
from recbole_clickprompt.plm.encoder_decoder import EncoderDecoder
from recbole_clickprompt.plm.generative import load_generative, num_positions
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.tokens import special_tokens

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

__all__ = ["P5"]

QUESTION = " Will the user like the item?"
WORDS = ("no", "yes")  # answers for label 0 and label 1
_WHOLE_WORDS = 512  # embeddings, as published
_NO_TOKEN = -100


class P5(LabeledRowsModel):
    """Answers "yes" or "no" to a question about the row; the score is the softmax over both::

        encoder reads    <text of the row> Will the user like the item? </s>
        decoder reads    start  yes
        decoder writes   yes    </s>          score: softmax of the first logits of "yes" and "no"

    Args:
        config: Settings of the run.
        dataset: Data set whose text is read.
        words: Answers for label 0 and label 1.

    Attributes:
        answers: The tokens of both answers and the end token, ``(2, Y)`` int64; -100 after the shorter one.
        whole_words: None without ``p5_ids``.

    Raises:
        SettingError: The PLM is no encoder-decoder, the text and the question exceed its positions, or both
            answers start with the same token; or see ``build_whole_words``.
        WeightsError: The PLM cannot be obtained.
    """

    def __init__(self, config: Settings, dataset: TextSource, words: Sequence[str] = WORDS) -> None:
        super().__init__(config)
        model, tokenizer, encoder_decoder = load_generative(config["plm"], dropout=config["plm_dropout"])
        if not encoder_decoder:
            raise SettingError(
                f"plm {config['plm']} is a {model.config.model_type!r} model, which has no decoder next to an "
                "encoder; use an encoder-decoder such as t5-small"
            )
        self.plm = EncoderDecoder(model)
        self.text = dataset.token_table(config["plm"])
        _, suffix = special_tokens(tokenizer)
        question = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
        _check_length(self.text.max_length, len(question), num_positions(model))
        self.num_suffix, self.pad_id = len(suffix), int(tokenizer.pad_token_id)
        self.question: Tensor
        self.answers: Tensor
        self.register_buffer("question", torch.tensor([*question, *suffix]), persistent=False)
        self.register_buffer("answers", _answers(tokenizer, words), persistent=False)
        self.whole_words: nn.Module | None = None
        if config["p5_ids"]:
            self.whole_words = build_whole_words(
                tokenizer, vocab_size=model.config.vocab_size, size=_WHOLE_WORDS, width=self.plm.hidden_size
            )

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the encoder-decoder, which are trained at ``plm_learning_rate``."""
        return list(self.plm.parameters())

    def prompt(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """The rows' text and the question.

        Returns:
            Tokens, ``(B, Z)``, and lengths, ``(B,)``.
        """
        assert self.text is not None
        text, lengths = self.text(interaction)
        added = len(self.question) - self.num_suffix
        # The question takes the place of the end of the text, and has an end of its own
        places = (lengths - self.num_suffix).unsqueeze(1) + torch.arange(len(self.question), device=text.device)
        whole = F.pad(text, (0, added), value=self.pad_id)
        return whole.scatter(1, places, self.question.expand(text.shape[0], -1)), lengths + added

    def _decode(self, interaction: Interaction, answers: Tensor | None = None) -> Tensor:
        """Logits after the start token and each token of the answers, ``(B, Y, V)`` for ``(B, Y - 1)``."""
        text, lengths = self.prompt(interaction)
        answers = text.new_zeros(text.shape[0], 0) if answers is None else answers
        added = None if self.whole_words is None else self.whole_words(text, lengths)
        return self.plm(text, lengths, answers, added=added)

    def forward(self, interaction: Interaction) -> Tensor:
        """The logit of "yes" minus that of "no" at the first step of the decoder, ``(B,)`` float32.

        Its sigmoid is the softmax over both.
        """
        first = self._decode(interaction)[:, 0]
        return first[:, self.answers[1, 0]] - first[:, self.answers[0, 0]]

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean over rows of the mean cross entropy of the answer's tokens, a scalar in nats."""
        label = (interaction[self.label_field] > 0).long()
        answers = self.answers[label]  # (B, Y)
        logits = self._decode(interaction, answers[:, :-1].clamp(min=0))
        losses = F.cross_entropy(
            logits.flatten(0, 1), answers.flatten(), ignore_index=_NO_TOKEN, reduction="none"
        ).view_as(answers)
        rows = losses.sum(1) / (answers != _NO_TOKEN).sum(1)
        return (rows * torch.where(label > 0, self._pos_weight, 1.0)).mean()

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_plm``, ``(B,)``, computed in blocks of rows of similar length."""
        return {"logit_plm": self.in_blocks(interaction)}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(logits["logit_plm"])


def _answers(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> Tensor:
    """The tokens of the answers, ``(2, Y)``."""
    rows = [[*tokenizer(word, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for word in words]
    if rows[0][0] == rows[1][0]:
        raise SettingError(
            f"{type(tokenizer).__name__} starts {words[0]!r} and {words[1]!r} with the same token, so that the "
            "first one does not distinguish them; use another plm"
        )
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=_NO_TOKEN)


def _check_length(text: int, question: int, positions: int | None) -> None:
    if positions is not None and text + question > positions:
        raise SettingError(
            f"max_text_length is {text}, and a question of {question} tokens follows, more than the {positions} "
            f"positions of this PLM; set it to {positions - question} or less"
        )

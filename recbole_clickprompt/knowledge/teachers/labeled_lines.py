"""Makes any language model write three labeled lines: each label is given, and the model fills in the line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["LABELS", "LabeledLines", "LineWriter"]

LABELS = ("Reasoning:", "Explicit:", "Implicit:")
_SHARES = (0.5, 0.25, 0.25)  # of an answer's tokens


class LabeledLines:
    """The labels and line ends of a tokenizer.

    Args:
        tokenizer: Of the model.
        answer_tokens: Tokens of an answer without its labels; a line that reaches its share is ended.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, answer_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.labels = [
            tokenizer(label if number == 0 else f"\n{label}", add_special_tokens=False)["input_ids"]
            for number, label in enumerate(LABELS)
        ]
        self.budgets = [max(1, round(answer_tokens * share)) for share in _SHARES]
        texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        # Tokens that end a line, with what they hold of it; end tokens hold nothing
        self.line_ends = {token: text.split("\n")[0] for token, text in enumerate(texts) if "\n" in text}
        self.line_ends |= dict.fromkeys(tokenizer.all_special_ids, "")
        self.vocabulary = len(texts)
        self.end: int = tokenizer.eos_token_id

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest answer, labels and end token included."""
        return sum(map(len, self.labels)) + sum(self.budgets) + 1

    def writer(self, *, rows: int) -> LineWriter:
        """A logits processor for one call of ``generate`` with this number of rows."""
        return LineWriter(self, rows=rows)


class LineWriter:
    """A logits processor of transformers that leaves one token to choose from.

    It must be the last one, and ``generate`` greedy: the token that it leaves is the given one of a label, or else
    the most probable.
    """

    def __init__(self, lines: LabeledLines, *, rows: int) -> None:
        self.lines = lines
        self._rows = [_Row(lines) for _ in range(rows)]
        self._ends = torch.tensor(sorted(lines.line_ends))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """
        Args:
            input_ids: Tokens so far, ``(B, Z)``, which this object knows.
            scores: Of the next token, ``(B, V)``.

        Returns:
            Scores with 0 at the chosen tokens and -inf elsewhere, ``(B, V)``.
        """
        chosen = self.choose(scores, range(len(scores)))
        left = torch.full_like(scores, -torch.inf)
        return left.scatter_(1, torch.tensor(chosen, device=scores.device).unsqueeze(1), 0.0)

    def choose(self, scores: Tensor, rows: Sequence[int]) -> list[int]:
        """The next token of rows; the end token of those that have ended.

        Args:
            scores: Of the next token, ``(len(rows), V)``.
            rows: Numbers of the rows.
        """
        known = scores[:, : self.lines.vocabulary]  # some models have more rows than the tokenizer has tokens
        best = known.argmax(1).tolist()
        within = best
        if any(token in self.lines.line_ends for token in best):
            # A line that would be empty takes the best token that does not end it
            within = known.index_fill(1, self._ends.to(scores.device), -torch.inf).argmax(1).tolist()
        return [self._rows[row].next(*tokens) for row, *tokens in zip(rows, best, within, strict=True)]

    def has_ended(self, row: int) -> bool:
        """Whether all lines of a row are written."""
        return self._rows[row].has_ended

    def text(self, row: int) -> str:
        """The answer of a row, its lines with their labels."""
        decode = self.lines.tokenizer.decode
        return "\n".join(
            f"{label} {_whole(decode(tokens).split(chr(10))[0] + rest, cut=cut and number > 0).strip()}"
            for number, (label, (tokens, rest, cut)) in enumerate(
                zip(LABELS, self._rows[row].lines(), strict=False)
            )
        )

    def tokens(self, row: int) -> int:
        """Tokens of a row's answer, labels included."""
        return self._rows[row].written


def _whole(text: str, *, cut: bool) -> str:
    """A list of phrases without the last one if the line was cut within it."""
    return text.rpartition(";")[0] if cut and ";" in text else text


class _Row:
    """Where an answer is: tokens of a label that are still to come, or the line after it."""

    def __init__(self, lines: LabeledLines) -> None:
        self._lines = lines
        self._given = list(lines.labels[0])
        self._written: list[list[int]] = [[]]
        # Of each ended line, the text of the token that ended it, and whether it was cut
        self._rests: list[tuple[str, bool]] = []
        self.written = 0

    @property
    def has_ended(self) -> bool:
        """Whether the last line has ended."""
        return len(self._rests) == len(LABELS)

    def next(self, best: int, within: int) -> int:
        """The next token, given the most probable one and the most probable one that ends no line."""
        if self.has_ended:
            return self._lines.end
        self.written += 1
        if self._given:
            return self._given.pop(0)
        line = self._written[-1]
        full = len(line) >= self._lines.budgets[len(self._rests)]
        if line and (full or best in self._lines.line_ends):
            return self._next_line("" if full else self._lines.line_ends[best], cut=full)
        token = within if best in self._lines.line_ends else best
        line.append(token)
        return token

    def _next_line(self, rest: str, *, cut: bool) -> int:
        self._rests.append((rest, cut))
        if self.has_ended:
            return self._lines.end
        self._written.append([])
        self._given = list(self._lines.labels[len(self._rests)])
        return self._given.pop(0)

    def lines(self) -> list[tuple[list[int], str, bool]]:
        """Of each line begun its tokens, the text of the token that ended it, and whether it was cut."""
        return [
            (tokens, *(self._rests[number] if number < len(self._rests) else ("", True)))
            for number, tokens in enumerate(self._written)
        ]

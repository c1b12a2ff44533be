"""Counts of what was unusual in rows, and the messages about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from recbole_clickprompt.serving.history import HistoryCounts

__all__ = ["Counts"]


@dataclass
class Counts:
    """Counts of unusual values in rows; counters are by field.

    Attributes:
        rows: Number of rows.
        unseen: Rows with values that training never saw, which count as missing.
        overridden: Rows whose user or item features differ from training; the training values were used.
        no_id: Rows without a user or item id, which are scored like those of an unseen one.
        blanks: Rows whose user or item id had surrounding blanks, which were removed.
        infinite: Rows with an infinite number, which counts as missing.
        far: Numbers far outside the range of training, which were clipped to ``Field.bounds``.
        history: Counts of unusual histories.
        no_text: Rows with an unseen user or item that have no text of it, for a model that would encode it.
        no_answer: Rows whose text of an unseen user or item was written from fields, for a model that has read a
            teacher's answers as well.
        not_encoded: Rows whose text of an unseen user or item an export cannot encode.
    """

    rows: int = 0
    unseen: Counter[str] = field(default_factory=Counter)
    overridden: int = 0
    no_id: Counter[str] = field(default_factory=Counter)
    blanks: Counter[str] = field(default_factory=Counter)
    infinite: Counter[str] = field(default_factory=Counter)
    far: Counter[str] = field(default_factory=Counter)
    history: HistoryCounts = field(default_factory=HistoryCounts)
    no_text: Counter[str] = field(default_factory=Counter)
    no_answer: Counter[str] = field(default_factory=Counter)
    not_encoded: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Adds the counts of other rows."""
        for name, value in vars(other).items():
            if isinstance(value, HistoryCounts):
                self.history.add(value)
            elif isinstance(value, Counter):
                getattr(self, name).update(value)
            else:
                setattr(self, name, getattr(self, name) + value)

    def changes(self) -> list[str]:
        """Messages about values that were not used unchanged, one line each."""
        return [
            *_lines(self.no_id, "rows have no id; they were scored like rows with an unseen id"),
            *_lines(self.blanks, "rows have an id with surrounding blanks, which were removed"),
            *_lines(self.infinite, "rows have an infinite number, which counts as missing"),
            *_lines(
                self.far,
                "numbers are far outside the training range; they were clipped at ten times its width beyond it",
            ),
            *self.history.messages(),
        ]

    def remarks(self) -> list[str]:
        """All messages about the rows, one line each."""
        lines = [
            *self.changes(),
            *_lines(self.unseen, "rows have values that training never saw"),
            *_lines(self.no_text, "rows with an unseen id have no text of it; they were scored without a text"),
            *_lines(
                self.no_answer,
                "rows with an unseen id have a text without a teacher's answer, which the texts of training have; "
                "give text and answer in a column item_text or user_text",
            ),
            *_lines(
                self.not_encoded,
                "rows with an unseen id were scored without its text: an export holds the vectors of training and "
                "no language model; score them with the checkpoint",
            ),
        ]
        if self.overridden:
            lines.append(
                f"{self.overridden:,} rows have user or item features that differ from training; "
                "the training values were used"
            )
        return lines


def _lines(counter: Counter[str], message: str) -> list[str]:
    return [f"{name}: {count:,} {message}" for name, count in counter.items() if count]

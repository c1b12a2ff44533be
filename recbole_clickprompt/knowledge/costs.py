"""What answers cost: tokens, seconds and valid answers by stratum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recbole_clickprompt.knowledge.answers import occurs
from recbole_clickprompt.knowledge.prompts import Subject
from recbole_clickprompt.knowledge.records import Record

__all__ = ["Costs", "costs_by_stratum", "teacher_tokens", "total_costs"]


@dataclass
class Costs:
    """Sums over the records of some subjects, repeated questions included.

    Attributes:
        asked: Subjects with a record.
        parsed: Those with a valid answer.
        tokens_in: Tokens of prompts; None if any record lacks them.
        tokens_out: Tokens of answers; None likewise.
        seconds: Time; None likewise.
        explicit: Explicit phrases of valid answers.
        in_text: Those that occur in the text.
    """

    asked: int = 0
    parsed: int = 0
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    seconds: float | None = 0.0
    explicit: int = 0
    in_text: int = 0

    def add(self, other: Costs) -> None:
        """Adds the sums of other subjects."""
        for name in ("tokens_in", "tokens_out", "seconds"):
            ours, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, None if ours is None or theirs is None else ours + theirs)
        for name in ("asked", "parsed", "explicit", "in_text"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def costs_by_stratum(subjects: Sequence[Subject], records: Iterable[Record]) -> dict[str, Costs]:
    """The costs of each stratum with a record, by its name; records about other subjects do not count."""
    by_key = {(subject.level, subject.key): subject for subject in subjects}
    costs: dict[str, Costs] = {}
    last: dict[tuple[str, str], Record] = {}
    for record in records:
        place = (record.level, record.key)
        if place not in by_key:
            continue
        last[place] = record
        _add_record(costs.setdefault(by_key[place].stratum, Costs()), record)
    for place, record in last.items():
        stratum = costs[by_key[place].stratum]
        stratum.asked += 1
        if record.error is None:
            stratum.parsed += 1
            stratum.explicit += len(record.explicit)
            stratum.in_text += sum(occurs(phrase, by_key[place].text) for phrase in record.explicit)
    return dict(sorted(costs.items()))


def total_costs(costs: Iterable[Costs]) -> Costs:
    """The sum."""
    total = Costs()
    for part in costs:
        total.add(part)
    return total


def teacher_tokens(records: Iterable[Record]) -> int | None:
    """Tokens of prompts and answers, of repeated and invalid ones too; None if any answer does not record them."""
    total = 0
    for record in records:
        if record.is_plain or (record.answer is not None and None in (record.tokens_in, record.tokens_out)):
            return None
        total += (record.tokens_in or 0) + (record.tokens_out or 0)
    return total


def _add_record(costs: Costs, record: Record) -> None:
    if record.answer is None:  # a question that failed on its way has no numbers
        return
    costs.add(Costs(0, 0, record.tokens_in, record.tokens_out, record.seconds))

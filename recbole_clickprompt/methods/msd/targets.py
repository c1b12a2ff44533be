"""What the student learns to write: a teacher's answers, varied from epoch to epoch but of equal meaning."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from recbole_clickprompt.knowledge.answers import Answer, render
from recbole_clickprompt.knowledge.sampling import uniform

__all__ = ["Targets", "kept", "target_text"]

# Phrase, casefolded: phrases that mean the same
Dictionary = Mapping[str, Sequence[str]]


def kept(keys: Sequence[str], share: float) -> list[str]:
    """A share of the keys, in their order; a smaller share is a subset of a larger one.

    Args:
        keys: Keys of answers, each once.
        share: From 0 to 1; at least one key is kept.
    """
    number = min(len(keys), max(1, round(share * len(keys))))
    chosen = set(sorted(keys, key=lambda key: (uniform("share", key), key))[:number])
    return [key for key in keys if key in chosen]


def target_text(answer: Answer, target: str) -> str:
    """An answer as the student writes it after ``Reasoning:``.

    Args:
        answer: The answer.
        target: ``full``, or ``phrases`` without the reasoning.
    """
    return render(answer) if target == "full" else render(answer._replace(reasoning="")).lstrip(" ")


class Targets(NamedTuple):
    """How answers become training targets; the settings of the same names describe them.

    Attributes:
        seed: Of the run.
        target: ``full`` or ``phrases``.
        shuffle: Whether phrases change places within their list from epoch to epoch.
        dictionary: Phrases that may replace a phrase.
        replace_rate: Probability that a phrase in the dictionary is replaced.
    """

    seed: int
    target: str
    shuffle: bool
    dictionary: Dictionary
    replace_rate: float

    def text(self, level: str, key: str, answer: Answer, epoch: int) -> str:
        """The target of an answer in an epoch: a function of seed, epoch and key, so a resumed run repeats it."""
        if self.shuffle or self.dictionary:
            digest = hashlib.sha256(
                f"{self.seed} {epoch} {level} {key}".encode()
            ).digest()  # Python's hash differs
            random = np.random.default_rng(int.from_bytes(digest, "little"))
            answer = Answer(
                answer.reasoning, self._vary(answer.explicit, random), self._vary(answer.implicit, random)
            )
        return target_text(answer, self.target)

    def _vary(self, phrases: Sequence[str], random: np.random.Generator) -> tuple[str, ...]:
        replaced = [self._replace_phrase(phrase, random) for phrase in phrases]
        order = random.permutation(len(replaced)) if self.shuffle else range(len(replaced))
        return tuple(replaced[index] for index in order)

    def _replace_phrase(self, phrase: str, random: np.random.Generator) -> str:
        same = self.dictionary.get(phrase.casefold())
        if not same or random.random() >= self.replace_rate:
            return phrase
        return same[random.integers(len(same))]

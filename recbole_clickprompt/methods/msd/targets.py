"""What the student learns to write: a teacher's answers, varied from epoch to epoch but of equal meaning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.files import write_text
from recbole_clickprompt.knowledge.answers import Answer, render
from recbole_clickprompt.knowledge.json_lines import objects
from recbole_clickprompt.knowledge.sampling import uniform

__all__ = ["Targets", "build_dictionary", "kept", "read_dictionary", "target_text", "write_dictionary"]

# Phrase, casefolded: phrases that mean the same
Dictionary = Mapping[str, Sequence[str]]

_ROW_BLOCK = 1024


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


def read_dictionary(path: Path) -> dict[str, tuple[str, ...]]:
    """Reads a dictionary of phrases: one object ``{"phrase": ..., "same": [...]}`` per line.

    Returns:
        The phrases of equal meaning by phrase, casefolded; of several lines about one phrase, all count.

    Raises:
        DataError: The file cannot be read, or a line is invalid; names its number.
    """
    found: dict[str, list[str]] = {}
    for where, content in objects(path):
        phrase, same = content.get("phrase"), content.get("same")
        if not isinstance(phrase, str) or not phrase.strip():
            raise DataError(f"{where}: phrase must be a text, got {phrase!r:.60}")
        if not isinstance(same, list) or not all(_is_phrase(other) for other in same):
            raise DataError(f"{where}: same must be a list of phrases without semicolons, got {same!r:.60}")
        found.setdefault(phrase.strip().casefold(), []).extend(other.strip() for other in same)
    return {phrase: tuple(dict.fromkeys(same)) for phrase, same in found.items() if same}


def _is_phrase(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not set(value) & set(";\n")


def build_dictionary(
    answers: Sequence[Answer],
    encode: Callable[[Sequence[str]], np.ndarray],
    *,
    threshold: float = 0.9,
    strata: Sequence[str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Finds phrases of equal meaning in the answers themselves.

    Two phrases mean the same if the cosine of their vectors reaches the threshold and they are from answers of the
    same stratum.

    Args:
        answers: Answers of training keys; those that measure the student must not be among them.
        encode: Returns vectors of length 1 of P phrases, ``(P, W)``.
        threshold: Smallest cosine.
        strata: The stratum of each answer, such as its item's genre; None: all are of one.

    Returns:
        Phrases of equal meaning by phrase; phrases without any are left out.
    """
    groups: dict[str, dict[str, None]] = {}
    for answer, stratum in zip(answers, strata or [""] * len(answers), strict=True):
        groups.setdefault(stratum, {}).update(dict.fromkeys((*answer.explicit, *answer.implicit)))
    found: dict[str, dict[str, None]] = {}
    for phrases in map(list, groups.values()):
        vectors = encode(phrases)  # (P, W)
        for begin in range(0, len(phrases), _ROW_BLOCK):
            cosine = vectors[begin : begin + _ROW_BLOCK] @ vectors.T  # (block, P)
            for row, column in np.argwhere(cosine >= threshold):
                one, other = phrases[begin + row], phrases[column]
                if one.casefold() != other.casefold():
                    found.setdefault(one, {})[other] = None
    return {phrase: tuple(same) for phrase, same in found.items()}


def write_dictionary(path: Path, dictionary: Dictionary) -> None:
    """Writes what ``read_dictionary`` reads; raises StorageError."""
    lines = [{"phrase": phrase, "same": list(same)} for phrase, same in dictionary.items()]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

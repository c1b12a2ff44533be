"""F1 of key phrases: how many of an answer's phrases mean the same as phrases of a reference answer.

Two phrases count as equal if the cosine of their vectors reaches a threshold. Such vectors are similar for
unrelated phrases too, so every value is shown with its chance level: the same answers scored against references of
others.

Letters: P phrases of an answer, R phrases of its reference, W width of a phrase's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from recbole_clickprompt.knowledge.answers import Answer

__all__ = ["ENCODER", "KINDS", "PhraseF1", "derangement", "matched", "normalized", "phrase_f1"]

ENCODER = "minilm"  # the frozen PLM that encodes phrases
KINDS = ("all", "explicit", "implicit")

Encode = Callable[[Sequence[str]], np.ndarray]


class PhraseF1(NamedTuple):
    """F1 over all answers, and what it would be by chance.

    Attributes:
        micro: 2 * matched / (phrases + reference phrases), each summed over all answers.
        macro: Mean of the F1 of each answer.
        micro_chance: ``micro`` of the same answers against references of other items or users; NaN for one answer.
        macro_chance: The same for ``macro``.
    """

    micro: float
    macro: float
    micro_chance: float
    macro_chance: float

    @property
    def micro_above_chance(self) -> float:
        """What of ``micro`` is not chance."""
        return self.micro - self.micro_chance

    @property
    def macro_above_chance(self) -> float:
        """What of ``macro`` is not chance."""
        return self.macro - self.macro_chance


def phrase_f1(
    answers: Sequence[Answer | None],
    references: Sequence[Answer],
    encode: Encode,
    *,
    threshold: float | None,
    kind: str = "all",
    groups: Sequence[str] | None = None,
) -> PhraseF1:
    """F1 of N answers.

    Args:
        answers: The student's; None for what could not be parsed, which has no phrases.
        references: The teacher's, or annotated ones.
        encode: Returns vectors of length 1 of phrases, ``(phrases, W)``.
        threshold: Cosine from which two phrases are equal; None: only equal texts are.
        kind: ``explicit`` or ``implicit`` phrases, or ``all``.
        groups: The group of each answer, such as its level; chance is measured within it. None: all are of one.

    Returns:
        NaN where no answer has phrases.
    """
    found = [_phrases(answer, kind) for answer in answers]
    expected = [_phrases(answer, kind) for answer in references]
    distinct = sorted({phrase for phrases in (*found, *expected) for phrase in phrases})
    number = {phrase: index for index, phrase in enumerate(distinct)}
    vectors = None if threshold is None or not distinct else encode(distinct)  # (phrases, W)

    def counts(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
        """Matched phrases, and phrases on both sides."""
        if vectors is None or threshold is None:
            return len(set(one) & set(other)), len(one) + len(other)
        rows, columns = ([number[phrase] for phrase in phrases] for phrases in (one, other))
        return matched(vectors[rows] @ vectors[columns].T, threshold), len(one) + len(other)

    others = derangement(groups or [""] * len(expected))
    paired = [counts(one, other) for one, other in zip(found, expected, strict=True)]
    by_chance = [counts(found[one], expected[other]) for one, other in enumerate(others) if other >= 0]
    return PhraseF1(*_micro_macro(paired), *_micro_macro(by_chance))


def _micro_macro(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    scored = [(both, total) for both, total in counts if total]  # nothing said and nothing expected is left out
    if not scored:
        return float("nan"), float("nan")
    micro = 2 * sum(both for both, _ in scored) / sum(total for _, total in scored)
    return micro, float(np.mean([2 * both / total for both, total in scored]))


def matched(cosine: np.ndarray, threshold: float) -> int:
    """Size of the largest one-to-one matching of phrases that are equal; of several, the one of largest cosine.

    Taking the most similar pair first can leave phrases without a partner that another choice would match::

                    r1   r2
        p1          .9   .85       greedy: p1-r1, then p2 has none: 1
        p2          .8   .1        here:   p1-r2 and p2-r1: 2

    Args:
        cosine: ``(P, R)``.
        threshold: Smallest cosine of equal phrases.
    """
    if not cosine.size:
        return 0
    # float32 sums of products round below a threshold that the exact cosine reaches
    equal = cosine >= threshold - 1e-6
    rows, columns = linear_sum_assignment(np.where(equal, 1 + cosine / 1000, 0), maximize=True)
    return int(equal[rows, columns].sum())


def derangement(groups: Sequence[str]) -> list[int]:
    """Another member of the same group for each member, each once, always the same; -1 in groups of one."""
    partner = [-1] * len(groups)
    for group in dict.fromkeys(groups):
        members = [index for index, name in enumerate(groups) if name == group]
        order = np.random.default_rng(0).permutation(len(members))
        if len(members) > 1:
            for one, other in zip(order, np.roll(order, 1), strict=True):
                partner[members[one]] = members[other]
    return partner


def normalized(phrase: str) -> str:
    """A phrase in lower case, without outer punctuation and double blanks."""
    return " ".join(phrase.casefold().split()).strip(" .,:;!?\"'")


def _phrases(answer: Answer | None, kind: str) -> list[str]:
    """Distinct normalized phrases: repeating one changes nothing."""
    if answer is None:
        return []
    phrases = {
        "all": (*answer.explicit, *answer.implicit), "explicit": answer.explicit, "implicit": answer.implicit,
    }[kind]  # fmt: skip
    return [phrase for phrase in dict.fromkeys(map(normalized, phrases)) if phrase]

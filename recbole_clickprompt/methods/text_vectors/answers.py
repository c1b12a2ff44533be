"""The teacher's answers that a run uses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answers import Answer
from recbole_clickprompt.knowledge.embedded import find_knowledge
from recbole_clickprompt.knowledge.records import read_answers
from recbole_clickprompt.settings.values import Settings

__all__ = ["knowledge_hash", "teacher_answers", "with_phrases"]

_REMEDIES = {
    "item": "use answers about the items of this data set",
    "user": "ask with recbole-cp teach --level=users and the user_knowledge, user_blocks and split of this run "
    "(NAME@BLOCK is a profile as of a block), or set user_knowledge to static for answers about users themselves",
}


def knowledge_hash(names: Sequence[str]) -> str:
    """SHA-256 over the bytes of knowledge files, in the order of their names; raises DataError."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(hashlib.sha256(find_knowledge(name).read_bytes()).digest())
    return digest.hexdigest()


def teacher_answers(
    config: Settings, level: str, texts: Mapping[str, str] | None = None, *, seed: int
) -> dict[str, Answer]:
    """Answers by key; of several about one key, the last one.

    Args:
        config: ``knowledge``; with ``shuffle_knowledge``, each key gets the answer about another one.
        level: ``item`` or ``user``.
        texts: The present texts by key, with which those of the records are compared.
        seed: Of ``shuffle_knowledge``.

    Raises:
        DataError: A file cannot be used, an answer is about another text, or no key of ``texts`` has an answer.
    """
    answers: dict[str, Answer] = {}
    for name in config["knowledge"] or []:
        answers |= read_answers(find_knowledge(name), level, texts)
    if texts and answers and answers.keys().isdisjoint(texts):
        raise DataError(
            f"knowledge: {', '.join(config['knowledge'])}: none of the {len(answers)} answers about {level}s is "
            f"about one of the {len(texts)} that are read: they are about {next(iter(answers))!r} and others, "
            f"not about {list(texts)[-1]!r} and others; {_REMEDIES[level]}"
        )
    if config["shuffle_knowledge"]:
        keys = list(answers)
        order = np.random.default_rng(seed).permutation(len(keys))
        # Neighbors in a random order: nobody keeps an answer, unless there is only one
        answers = {keys[key]: answers[keys[other]] for key, other in zip(order, np.roll(order, 1), strict=True)}
    return answers


def with_phrases(
    config: Settings,
    texts: Sequence[str],
    keys: Sequence[str],
    *,
    seed: int,
    level: str = "item",
    reasoning: bool = False,
) -> list[str]:
    """Texts with what the teacher says about them.

    Args:
        config: As for ``teacher_answers``.
        texts: By id; where one is empty, what the teacher says is all.
        keys: Of the answers, by id.
        seed: Of ``shuffle_knowledge``.
        level: ``item`` or ``user``.
        reasoning: The line of reasoning comes before the phrases.

    Raises:
        DataError: As for ``teacher_answers``.
    """
    answers = teacher_answers(config, level, dict(zip(keys, texts, strict=True)), seed=seed)

    def said(key: str) -> str:
        if key not in answers:
            return ""
        phrases = "; ".join((*answers[key].explicit, *answers[key].implicit))
        return f"{answers[key].reasoning} {phrases}".strip() if reasoning else phrases

    return [f"{text} {said(key)}.".lstrip() if said(key) else text for text, key in zip(texts, keys, strict=True)]

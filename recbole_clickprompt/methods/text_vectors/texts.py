"""The texts that a frozen encoder reads: about each item and user, with a teacher's answers or without."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from logging import getLogger
from typing import Any

import torch

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.methods.text_vectors.answers import knowledge_hash, teacher_answers, with_phrases
from recbole_clickprompt.plm.weights import find_plm, text_files_hash, weights_hash
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.descriptions import descriptions, profile_descriptions
from recbole_clickprompt.text.source import TextSource

__all__ = [
    "ListedTexts", "answer_files", "check_knowledge", "encoded_texts", "frozen_inputs",
    "frozen_language_model", "levels_with_answers", "log_unanswered",
]  # fmt: skip


class ListedTexts:
    """The distinct texts of a level, and which of them each id has.

    Args:
        texts: By id.

    Attributes:
        texts: U distinct ones, in the order of ids.
        index: The text of each id, ``(ids,)`` int64.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        self.index = torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts], dtype=torch.int64)
        self.texts = list(numbers)

    def __len__(self) -> int:
        """U."""
        return len(self.texts)


def check_knowledge(settings: Settings) -> None:
    """Rejects settings of knowledge that contradict each other.

    Raises:
        SettingError: Answers are asked for without files of them, or changed without being read.
    """
    reads = settings["knowledge_vectors"] == "answers"
    if reads and not settings["knowledge"]:
        raise SettingError(
            "knowledge_vectors: answers needs the answers of a teacher; name files of them in knowledge "
            "(recbole-cp teach writes one), or set knowledge_vectors: texts"
        )
    if settings["shuffle_knowledge"] and not reads:
        raise SettingError(
            f"shuffle_knowledge has no effect with knowledge_vectors: {settings['knowledge_vectors']}, which "
            "reads no answers; leave it out"
        )


def answer_files(settings: Settings) -> Sequence[str]:
    """The files of ``knowledge`` if a frozen encoder reads answers, else none."""
    return settings["knowledge"] if settings["knowledge_vectors"] == "answers" else []


def frozen_language_model(settings: Settings) -> Mapping[str, bool]:
    """As for ``Method.served_language_models``: the encoder with its weights, unless vectors are random."""
    return {"plm": settings["knowledge_vectors"] != "random"}


def levels_with_answers(settings: Settings) -> frozenset[str]:
    """The levels of which a new text should have an answer: items, if answers are read.

    Of users it is not expected: their profiles change all the time, and a teacher is rarely asked about them.
    """
    return frozenset({"item"} if settings["knowledge_vectors"] == "answers" else ())


def encoded_texts(config: Settings, dataset: TextSource, level: str) -> list[str]:
    """The texts of a level: of items by id, of users by profile; with the teacher's answers if those are read.

    Raises:
        SettingError: ``text_fields`` has no feature of items, or no user or no item has a text.
        DataError: A file of ``knowledge`` cannot be used.
    """
    texts = profile_descriptions(dataset) if level == "user" else descriptions(dataset, level)
    if level == "user" and not any(texts):
        raise SettingError(
            f"user_knowledge: {config['user_knowledge']} gives no user a text; name fields of users in "
            "text_fields, or set user_knowledge: none"
        )
    if config["knowledge_vectors"] == "answers":
        keys = _keys(dataset, level)
        texts = with_phrases(config, texts, keys, level=level, reasoning=True, seed=config["seed"])
    if not any(texts):
        raise SettingError(
            f"no {level} has a text: the fields of text_fields have no values; name fields of {level}s that have"
        )
    return texts


def log_unanswered(config: Settings, dataset: TextSource, levels: Collection[str]) -> None:
    """Logs how many texts are read without an answer, because there is none about them.

    Raises:
        DataError: There is no answer about any of them.
    """
    answered = 0
    for level in levels:
        answers = teacher_answers(config, level, seed=config["seed"])
        keys = _keys(dataset, level)[1:]  # id 0 is padding
        missing = sum(key not in answers for key in keys)
        answered += len(keys) - missing
        getLogger().info(f"{missing} of {len(keys)} texts of {level}s have no answer and are read alone")
    if not answered:
        subjects = " and ".join(f"{level}s" for level in levels)
        raise DataError(
            f"knowledge: {', '.join(config['knowledge'])}: no valid answer is about {subjects}, whose texts are "
            "read with answers; name files that have some (recbole-cp teach writes one), or read texts alone"
        )


def frozen_inputs(config: Settings, dataset: TextSource, levels: Iterable[str]) -> dict[str, Any]:
    """Hashes of the encoder's files and of the texts that it reads, as for ``Method.inputs``."""
    folder = find_plm(config["plm"], seed=config["seed"])
    digest = hashlib.sha256()
    for level in levels:
        digest.update("\0".join(encoded_texts(config, dataset, level)).encode("utf-8", "surrogatepass"))
    reads = config["knowledge_vectors"] == "answers"
    return {
        "knowledge": knowledge_hash(config["knowledge"] or []) if reads else None,
        "plm_weights": weights_hash(folder),
        "plm_files": text_files_hash(folder),
        "encoded_texts": digest.hexdigest(),
    }


def _keys(dataset: TextSource, level: str) -> list[str]:
    """Keys of a level's answers, by id or profile."""
    field = dataset.uid_field if level == "user" else dataset.iid_field
    tokens = [str(dataset.id2token(field, number)) for number in range(dataset.num(field))]
    if level == "item":
        return tokens
    assert dataset.user_profiles is not None
    return dataset.user_profiles.keys(tokens)

"""Phrases of equal meaning, by which distillation replaces some of the teacher's (MSD's augmentation)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answers import Answer
from recbole_clickprompt.knowledge.json_lines import objects
from recbole_clickprompt.methods.msd.phrase_f1 import ENCODER

__all__ = ["build_dictionary", "dictionary_hash", "load_dictionary", "read_dictionary"]

_BUILT = "auto"  # the value of ``phrase_dictionary`` for one that is built
_SAME = 0.9
_ROW_BLOCK = 1024


def load_dictionary(name: str | None, answers: Sequence[Answer]) -> dict[str, tuple[str, ...]]:
    """The dictionary that the setting ``phrase_dictionary`` names.

    Args:
        name: ``auto``: one that is built from the answers; a file; or None: an empty one.
        answers: Those that are trained on.

    Raises:
        DataError: As for ``read_dictionary``.
    """
    if name is None:
        return {}
    if name != _BUILT:
        return read_dictionary(Path(name))
    from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder

    return build_dictionary(answers, SentenceEncoder(ENCODER))


def dictionary_hash(name: str | None) -> str | None:
    """What ``phrase_dictionary`` stands for: a hash of the file, or how one is built; raises DataError."""
    if name is None:
        return None
    if name == _BUILT:
        return f"built with {ENCODER} and cosine {_SAME}"
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(
            f"phrase_dictionary: {name} cannot be read: {error.strerror}; give a file, or auto"
        ) from error


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
    answers: Sequence[Answer], encode: Callable[[Sequence[str]], np.ndarray], *, threshold: float = _SAME
) -> dict[str, tuple[str, ...]]:
    """Finds phrases of equal meaning in answers: those whose vectors have a cosine of at least a threshold.

    Args:
        answers: Answers of training keys; those that measure the student must not be among them.
        encode: Returns vectors of length 1 of P phrases, ``(P, W)``.
        threshold: Smallest cosine.

    Returns:
        Phrases of equal meaning by phrase, casefolded; phrases without any are left out.
    """
    phrases = list(dict.fromkeys(phrase for answer in answers for phrase in (*answer.explicit, *answer.implicit)))
    found: dict[str, dict[str, None]] = {}
    vectors = encode(phrases)  # (P, W)
    for begin in range(0, len(phrases), _ROW_BLOCK):
        cosine = vectors[begin : begin + _ROW_BLOCK] @ vectors.T  # (block, P)
        for row, column in np.argwhere(cosine >= threshold):
            one, other = phrases[begin + row].casefold(), phrases[column]
            if one != other.casefold():
                found.setdefault(one, {})[other] = None
    return {phrase: tuple(same) for phrase, same in found.items()}

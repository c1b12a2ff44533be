"""References written by hand, and which of them a prompt has as its example."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answers import AnswerError, with_text
from recbole_clickprompt.knowledge.json_lines import objects
from recbole_clickprompt.knowledge.prompts import Reference, Subject
from recbole_clickprompt.knowledge.records import record_of
from recbole_clickprompt.knowledge.sampling import uniform

__all__ = ["EXAMPLES", "Example", "Examples", "read_references"]

Example = Literal["nearest", "category", "random", "none"]
EXAMPLES = ("nearest", "category", "random", "none")

# Vectors of texts, (texts, W), each of length 1
Encode = Callable[[Sequence[str]], np.ndarray]


def read_references(path: Path, level: str, subjects: Sequence[Subject]) -> list[Reference]:
    """Reads references: plain answers with their ``text``, and optionally a ``category``.

    Args:
        path: The file.
        level: ``item`` or ``user``; lines of the other level are skipped.
        subjects: The data set's. A reference about one of them may lack its text and category.

    Raises:
        DataError: The file has no reference of this level, a line is invalid, or a text is missing or contradicts
            the data set.
    """
    known = {subject.key: subject for subject in subjects}
    references: list[Reference] = []
    for where, content in objects(path):
        record = record_of(content, where)
        if record.level != level:
            continue
        text, category = record.text, content.get("category")
        subject = known.get(record.key)
        if not text and subject is None:
            raise DataError(f"{where}: {record.key!r:.80} is not in the data set, so the reference needs its text")
        if not isinstance(category, str | None):
            raise DataError(f"{where}: category must be a text or null, got {category!r:.60}")
        text = text or (subject.text if subject else "")
        of_data_set = subject is not None and subject.text == text
        if category is None and subject is not None and of_data_set:
            category = subject.stratum
        try:
            answer = with_text(record.parsed(), text)
        except AnswerError as error:
            raise DataError(f"{where}: the reference about {record.key!r:.80}: {error}") from error
        content_hash = hashlib.sha256(json.dumps([text, answer], ensure_ascii=False).encode()).hexdigest()
        # Ids of another data set mean other items: only an equal text makes it the same one
        references.append(
            Reference(content_hash[:12], record.key if of_data_set else None, text, category, answer)
        )
    if not references:
        raise DataError(f"{path} has no reference for {level}s; write 8 to 32 answers by hand, one per line")
    return references


class Examples:
    """Chooses references for subjects; never the subject's own.

    Args:
        how: ``nearest``: most similar text by ``encode``, ties by the order of references; ``category``: one of
            the same category, else any; ``random``; ``none``.
        references: In the order of their file.
        seed: Of random choices.
        encode: Vectors of texts; only called for ``nearest``.
    """

    def __init__(self, how: Example, references: Sequence[Reference], *, seed: int, encode: Encode | None) -> None:
        self.how, self.references, self.seed, self.encode = how, list(references), seed, encode
        self._vectors: np.ndarray | None = None

    def rank(self, subjects: Sequence[Subject]) -> list[list[Reference]]:
        """For each subject its references, best first: the second one is for a second try.

        Returns:
            A list per subject, empty where there is no example.
        """
        if self.how == "none" or not subjects:
            return [[] for _ in subjects]
        rows = self._similarity(subjects)
        return [self._ranked(subject, row) for subject, row in zip(subjects, rows, strict=True)]

    def _ranked(self, subject: Subject, similarity: np.ndarray | None) -> list[Reference]:
        def order(number: int) -> tuple[float, ...]:
            if similarity is not None:
                return (-round(float(similarity[number]), 6), number)
            reference = self.references[number]
            other = self.how == "category" and reference.category != subject.stratum
            return (other, uniform("example", self.seed, subject.level, subject.key, reference.id), number)

        candidates = [
            number
            for number, reference in enumerate(self.references)
            if reference.key != subject.key and reference.text != subject.text
        ]
        return [self.references[number] for number in sorted(candidates, key=order)]

    def _similarity(self, subjects: Sequence[Subject]) -> Sequence[np.ndarray | None]:
        """Cosines with all references for each subject, ``(references,)``; None where they are not needed."""
        if self.how != "nearest" or self.encode is None:
            return [None] * len(subjects)
        if self._vectors is None:
            self._vectors = self.encode([reference.text for reference in self.references])
        return list(self.encode([subject.text for subject in subjects]) @ self._vectors.T)

"""A teacher that reads its answers from a file: exact, offline and free."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answers import Answer, render
from recbole_clickprompt.knowledge.prompts import Prompt, prompt_sha256
from recbole_clickprompt.knowledge.records import Record, difference, read_records
from recbole_clickprompt.knowledge.teachers.base import Reply

__all__ = ["ReplayTeacher"]

_BATCH = 256  # records that are synced to disk together


class ReplayTeacher:
    """Answers from a file of full records or plain answers; needs no references and no model.

    A full record is found by the hash of its prompt and repeated byte for byte. A plain answer is found by its key
    alone, and its tokens are not recorded.

    Args:
        path: The file.

    Raises:
        DataError: The file cannot be read, is empty, or a line is invalid.
    """

    tries_again = False
    concurrent = 1
    decoding = "replay"

    def __init__(self, path: Path) -> None:
        self.path = path
        records = read_records(path)
        if not records:
            raise DataError(f"{path} has no answers to replay")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.name = f"replay:{path.name}@{digest[:12]}"
        self._records = {(record.level, record.key): record for record in records}
        self._all = {record.line() for record in records if not record.is_plain}

    def answer(
        self, prompts: Sequence[Prompt], stopped: Callable[[], bool]
    ) -> Generator[Sequence[Reply], None, None]:
        """Repeats the recorded answers, in the order of the prompts.

        Raises:
            DataError: A key is not in the file, or its text was another one when it was answered. Nothing is
                answered then.
        """
        replies = [self._reply(prompt) for prompt in prompts]
        for begin in range(0, len(replies), _BATCH):
            if stopped():
                return
            yield replies[begin : begin + _BATCH]

    def has(self, record: Record) -> bool:
        """Whether the file has this very record: then a replay of this file, or of a copy, may have written it."""
        return record.line() in self._all

    def count_tokens(self, prompt: Prompt) -> tuple[int, str]:
        """None are needed."""
        return 0, "an answer from a file takes none"

    def _reply(self, prompt: Prompt) -> Reply:
        subject = prompt.subject
        record = self._records.get((subject.level, subject.key))
        if record is None:
            raise DataError(
                f"{self.path} has no answer about the {subject.level} {subject.key!r:.80}; it can only replay "
                "what it has: ask another teacher for the rest, or draw fewer with --sample"
            )
        if record.is_plain:
            answer = Answer(record.reasoning or "", record.explicit, record.implicit)
            return Reply(prompt, f"Reasoning:{render(answer)}", error=record.error)
        expected = prompt_sha256(
            model=record.model or "",
            decoding=record.decoding or "",
            template=record.template or "",
            example=record.example,
            subject=subject,
        )
        if record.prompt_sha256 != expected:
            raise DataError(
                f"{self.path}: the answer about the {subject.level} {subject.key!r:.80} is about another text, "
                f"{difference(record.text or '', subject.text)}; use the text_fields of then, or ask again"
            )
        return Reply(
            prompt, record.answer, record.tokens_in, record.tokens_out, record.seconds, record.error, record
        )

"""Files of knowledge: one JSON object per line, with the answer about one item or user.

A *full record* says how the answer was obtained, so that a run can be replayed and its cost added up. A *plain
answer* has ``item_id`` or ``user_id`` and the answer alone, and may be written by anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answers import Answer, AnswerError, clean
from recbole_clickprompt.knowledge.json_lines import objects, objects_of_lines

__all__ = [
    "LEVELS",
    "Record",
    "difference",
    "read_answers",
    "read_records",
    "record_of",
    "records_of",
]

LEVELS = ("item", "user")
_IDS = {"item_id": "item", "user_id": "user"}
_NUMBERS = ("tokens_in", "tokens_out", "seconds")
_MOST = 10**15  # of a number; sums and ratios of larger ones overflow
_TEXTS = ("text", "prompt_sha256", "model", "decoding", "template", "example", "answer", "reasoning", "error")


class Record(NamedTuple):
    """A line of a knowledge file; None is written as ``null``.

    Attributes:
        key: The item or user as in the data set's files; ``<user>@<block>`` for a profile as of a block.
        level: ``item`` or ``user``.
        block: Block of the training period of a user's profile; None for items and static profiles.
        text: What the teacher was asked about.
        prompt_sha256: Hash of what decides the answer, see ``prompts.prompt_sha256``.
        model: The model that answered.
        decoding: How it chose its tokens.
        template: Version of the prompt's wording.
        example: The reference in the prompt; None if it has none.
        answer: What the model wrote; None if it did not answer.
        reasoning: Of the parsed answer; None if it is invalid.
        explicit: Its explicit phrases; empty if it is invalid.
        implicit: Its implicit phrases; empty if it is invalid.
        tokens_in: Tokens of the prompt; None if not recorded.
        tokens_out: Tokens of the answer; None if not recorded.
        seconds: Time for the answer, a share of its batch's; None if not recorded.
        error: Why there is no valid answer; None if there is one.
    """

    key: str
    level: str
    block: int | None = None
    text: str | None = None
    prompt_sha256: str | None = None
    model: str | None = None
    decoding: str | None = None
    template: str | None = None
    example: str | None = None
    answer: str | None = None
    reasoning: str | None = None
    explicit: tuple[str, ...] = ()
    implicit: tuple[str, ...] = ()
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None
    error: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the line has the answer alone."""
        return self.prompt_sha256 is None

    def parsed(self) -> Answer:
        """The answer; only where ``error`` is None.

        Raises:
            AnswerError: A list has no phrase.
        """
        return clean(self.reasoning or "", self.explicit, self.implicit)

    def line(self) -> str:
        """The record as a line of a file, with its line end; equal records give equal lines."""
        return json.dumps(self._asdict(), ensure_ascii=False) + "\n"


def read_records(path: Path) -> list[Record]:
    """All lines of a file, in its order, with duplicates and errors.

    Raises:
        DataError: A line is invalid; names its number.
    """
    return [record_of(content, where) for where, content in objects(path)]


def records_of(lines: Iterable[bytes], name: str) -> list[Record]:
    """The records of lines, as ``read_records`` reads them.

    Args:
        lines: Each with its line end.
        name: Of the file, for messages.

    Raises:
        DataError: A line is invalid; names its number.
    """
    return [record_of(content, where) for where, content in objects_of_lines(lines, name)]


def read_answers(path: Path, level: str, texts: Mapping[str, str] | None = None) -> dict[str, Answer]:
    """The answers of one level by key; of several lines with one key, the last counts.

    Args:
        path: Full records or plain answers.
        level: ``item`` or ``user``.
        texts: What is known today, by key. Lines about another text do not count; a key that has no other answers
            is an error. Lines without a text cannot be checked.

    Returns:
        Answers by token of the data set's files, for profiles as of a block by ``<user>@<block>``. Records with an
        error are left out; empty if the file has only the other level.

    Raises:
        DataError: The file cannot be read, has no answer at all, an answer is about another text, or a line is
            invalid; names its number.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {LEVELS}, got {level!r}")
    answers: dict[str, Answer] = {}
    others: dict[str, str] = {}  # messages about keys whose answers are about other texts only
    checked: set[str] = set()
    number = 0
    for where, content in objects(path):
        number += 1
        record = record_of(content, where)
        if record.level != level:
            continue
        text = (texts or {}).get(record.key)
        if text and record.text is not None and record.text != text:
            if record.error is None:
                others[record.key] = (
                    f"{where}: the answer about {record.key!r:.80} is about another text, "
                    f"{difference(record.text, text)}; use the data set and settings of then, or run "
                    "recbole-cp teach again with these"
                )
            continue
        checked.add(record.key)
        if record.error is not None:
            answers.pop(record.key, None)
            continue
        try:
            answers[record.key] = record.parsed()
        except AnswerError as error:
            raise DataError(f"{where}: the answer about {record.key!r:.80} has {error}") from error
    if not number:
        raise DataError(f"{path} has no answers; expected is one JSON object per line")
    for message in [message for key, message in others.items() if key not in checked][:1]:
        raise DataError(message)
    return answers


def difference(before: str, now: str) -> str:
    """Where two texts begin to differ, in words: ``'...1995' instead of '...1996'``."""
    pairs = enumerate(zip(before, now, strict=False))
    same = next((number for number, (one, other) in pairs if one != other), min(len(before), len(now)))
    start = max(0, same - 30) if same > 60 else 0
    dots = "..." if start else ""
    return f"{dots + before[start : start + 100]!r} instead of {dots + now[start : start + 100]!r}"


def record_of(content: Mapping[str, Any], where: str) -> Record:
    """Checks the content of a line.

    Args:
        content: The object of a full record or a plain answer; other keys of a plain answer are ignored.
        where: The line, for messages.

    Raises:
        DataError: A value is missing or of another type.
    """
    values = dict(content)
    if "level" not in values:
        values = {**_plain_key(values, where), **{name: values.get(name) for name in ("text", "reasoning")}}
        values |= {name: content.get(name) for name in ("explicit", "implicit")}
    elif unknown := values.keys() - set(Record._fields):
        raise DataError(f"{where}: {sorted(unknown)[0]!r:.60} is not a part of a record")
    key = values.get("key")
    if not isinstance(key, str) or not key:
        raise DataError(f"{where}: key must be the token of an item or user, got {key!r:.60}")
    if values["level"] not in LEVELS:
        raise DataError(f"{where}: level must be item or user, got {values['level']!r:.60}")
    block = values.get("block")
    if not (block is None or (_is_integer(block) and 0 <= block <= _MOST)):
        raise DataError(f"{where}: block must be a whole number from 0 to 1e15, or null, got {block!r:.60}")
    for name in _TEXTS:
        if not isinstance(values.get(name), str | None):
            raise DataError(f"{where}: {name} must be a text or null, got {values[name]!r:.60}")
    for name in _NUMBERS:
        value = values.get(name)
        if value is not None and not (isinstance(value, float) or _is_integer(value)):
            raise DataError(f"{where}: {name} must be a number or null, got {value!r:.60}")
        if value is not None and not 0 <= value <= _MOST:
            raise DataError(f"{where}: {name} must be a number from 0 to 1e15, got {value!r:.60}")
    for name in ("explicit", "implicit"):
        phrases = values.get(name)
        if phrases is None and values.get("error") is not None:
            phrases = []
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
            raise DataError(f"{where}: {name} must be a list of phrases, got {phrases!r:.60}")
        values[name] = tuple(phrases)
    return Record(**values)


def _plain_key(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Key, level and block of a plain answer."""
    named = [name for name in _IDS if name in content]
    if len(named) != 1:
        raise DataError(f"{where}: expected is item_id or user_id, or a full record with key and level")
    token, block = content[named[0]], content.get("block")
    if not (isinstance(token, str) or (_is_integer(token) and abs(token) < 2**64)):
        raise DataError(f"{where}: {named[0]} must be a token of the data set's files, got {token!r:.60}")
    key = str(token) if block is None else f"{token}@{block}"
    return {"key": key, "level": _IDS[named[0]], "block": block}


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

"""Asks a teacher and stores what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answer_file import AnswerFile
from recbole_clickprompt.knowledge.answers import AnswerError, parse, with_text
from recbole_clickprompt.knowledge.examples import Examples
from recbole_clickprompt.knowledge.prompts import TEMPLATE, Prompt, Reference, Subject, build_prompt, prompt_sha256
from recbole_clickprompt.knowledge.records import Record
from recbole_clickprompt.knowledge.teachers.base import Reply, Teacher
from recbole_clickprompt.knowledge.teachers.replay import ReplayTeacher

__all__ = ["Lesson", "check_origin", "record_of_reply", "unfinished_subjects"]

_TRIES = 2
_CHUNK = 4096  # subjects whose prompts are in memory


class Lesson:
    """The questions of a run and their answers.

    Args:
        teacher: Who answers.
        examples: References for the prompts.
        subjects: What is asked about.
        file: Where records go; those of earlier runs are not asked again.
        max_tokens: Tokens of prompts and answers after which no further question is started; None is no limit.
        answered: Called after each stored batch with the number of subjects that are finished by it.

    Attributes:
        tokens: Tokens of prompts and answers of this run so far.

    Raises:
        DataError: As for ``check_origin``.
    """

    def __init__(
        self,
        teacher: Teacher,
        examples: Examples,
        subjects: Sequence[Subject],
        file: AnswerFile,
        *,
        max_tokens: int | None = None,
        answered: Callable[[int], None] = lambda number: None,
    ) -> None:
        check_origin(file, teacher)
        file.repair()
        self.teacher, self.examples, self.file = teacher, examples, file
        self.max_tokens, self.answered, self.tokens = max_tokens, answered, 0
        # How often each unfinished subject was answered in vain
        self._unfinished = unfinished_subjects(file.records, subjects, teacher, examples)

    @property
    def unfinished(self) -> list[Subject]:
        """Subjects without a valid answer that are still to be asked about."""
        return list(self._unfinished)

    @property
    def stopped(self) -> bool:
        """Whether the limit of tokens is reached."""
        return self.max_tokens is not None and self.tokens >= self.max_tokens

    def run(self) -> None:
        """Asks about every unfinished subject, and once more with another reference where the answer is invalid.

        Each batch of answers is on the disk before the next one is waited for, so an interruption loses only what
        is being answered.

        Raises:
            UserError: The teacher cannot answer any more, or the disk is full. What was answered stays.
        """
        for attempt in range(_TRIES):
            subjects = [subject for subject, tries in self._unfinished.items() if tries <= attempt]
            for begin in range(0, len(subjects), _CHUNK):
                if self.stopped:
                    return
                self._ask(subjects[begin : begin + _CHUNK])

    def prompts(self, subjects: Sequence[Subject]) -> Iterator[Prompt]:
        """The next question about each subject; none if a second one would be the same as the first."""
        for subject, references in zip(subjects, self.examples.rank(subjects), strict=True):
            tries = self._unfinished.get(subject, 0)
            if tries and len(references) <= tries:
                continue
            yield build_prompt(subject, _of(references, tries))

    def _ask(self, subjects: Sequence[Subject]) -> None:
        prompts = list(self.prompts(subjects))
        for subject in {*subjects} - {prompt.subject for prompt in prompts}:
            del self._unfinished[subject]
            self.answered(1)
        # Closed at once if storing fails, so that no question stays on its way
        with closing(self.teacher.answer(prompts, lambda: self.stopped)) as batches:
            for replies in batches:
                records = [record_of_reply(reply, self.teacher) for reply in replies]
                self.file.append(records)
                self.tokens += sum((record.tokens_in or 0) + (record.tokens_out or 0) for record in records)
                self.answered(sum(map(self._finish, records, replies)))

    def _finish(self, record: Record, reply: Reply) -> bool:
        subject = reply.prompt.subject
        tries = self._unfinished[subject] + 1
        valid_or_failed = record.error is None or record.answer is None
        if valid_or_failed or tries >= _possible_tries(self.teacher, self.examples):
            del self._unfinished[subject]
            return True
        self._unfinished[subject] = tries
        return False


def _of(references: Sequence[Reference], number: int) -> Reference | None:
    return references[number] if number < len(references) else None


def check_origin(file: AnswerFile, teacher: Teacher) -> None:
    """Checks that a file which is to be continued has answers of the same teacher, or of the replayed file.

    Raises:
        DataError: It has answers of another one, or plain answers.
    """
    for record in file.records:
        if isinstance(teacher, ReplayTeacher) and teacher.has(record):
            continue  # a replayed record names the model that answered
        if record.model != teacher.name or record.decoding != teacher.decoding or record.template != TEMPLATE:
            raise DataError(
                f"{file.path} has answers of {record.model or 'an unknown model'} ({record.decoding}, template "
                f"{record.template}), and this is {teacher.name} ({teacher.decoding}, template {TEMPLATE}); "
                "choose another file with --out"
            )


def record_of_reply(reply: Reply, teacher: Teacher) -> Record:
    """The record of a reply: parsed, with what cannot be parsed kept as an error."""
    if reply.recorded is not None:
        return reply.recorded
    subject = reply.prompt.subject
    error, text = _storable(reply.error), _storable(reply.text)
    answer = None
    if error is None and text is not None:
        try:
            answer = with_text(parse(text), subject.text)
        except AnswerError as invalid:
            error = str(invalid)
    return Record(
        key=subject.key,
        level=subject.level,
        block=subject.block,
        text=subject.text,
        prompt_sha256=prompt_sha256(
            model=teacher.name,
            decoding=teacher.decoding,
            template=TEMPLATE,
            example=reply.prompt.example,
            subject=subject,
        ),
        model=teacher.name,
        decoding=teacher.decoding,
        template=TEMPLATE,
        example=reply.prompt.example,
        answer=text,
        reasoning=answer.reasoning if answer else None,
        explicit=answer.explicit if answer else (),
        implicit=answer.implicit if answer else (),
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        seconds=None if reply.seconds is None else round(reply.seconds, 3),
        error=error,
    )


def _storable(text: str | None) -> str | None:
    """A text without lone surrogates, which servers can send but UTF-8 cannot hold."""
    return None if text is None else text.encode(errors="replace").decode()


def unfinished_subjects(
    records: Iterable[Record], subjects: Sequence[Subject], teacher: Teacher, examples: Examples
) -> dict[Subject, int]:
    """Subjects that are to be asked about, and how often each was answered in vain.

    Args:
        records: Of earlier runs. Those about another text of a subject do not count, nor do questions that failed
            on their way, unless they are only repeated from a file.
        subjects: What is asked about.
        teacher: Who is asked.
        examples: References for the prompts.
    """
    possible = _possible_tries(teacher, examples)
    texts = {(subject.level, subject.key): subject.text for subject in subjects}
    tries: dict[tuple[str, str], int] = {}
    for record in records:
        place = (record.level, record.key)
        failed = teacher.tries_again and record.answer is None
        if failed or texts.get(place) != record.text:
            continue
        tries[place] = possible if record.error is None else tries.get(place, 0) + 1
    return {
        subject: number
        for subject in subjects
        if (number := tries.get((subject.level, subject.key), 0)) < possible
    }


def _possible_tries(teacher: Teacher, examples: Examples) -> int:
    """With one reference, or none, a second question would be the first one again."""
    return min(_TRIES, max(1, len(examples.references))) if teacher.tries_again else 1

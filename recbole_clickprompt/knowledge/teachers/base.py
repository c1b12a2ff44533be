"""What every teacher offers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, Protocol

from recbole_clickprompt.knowledge.prompts import Prompt
from recbole_clickprompt.knowledge.records import Record

__all__ = ["ANSWER_TOKENS", "Reply", "Teacher"]

ANSWER_TOKENS = 160  # longest answer, unless another number is asked for


class Reply(NamedTuple):
    """What a teacher wrote.

    Attributes:
        prompt: The question.
        text: The answer; None if there is none.
        tokens_in: Tokens of the prompt; None if not known.
        tokens_out: Tokens of the answer; None if not known.
        seconds: Time for the answer, a share of its batch's; None if not known.
        error: Why the text is no answer; None if it may be one.
        recorded: The record of a replayed file, which is kept as it is; None for answers of models.
    """

    prompt: Prompt
    text: str | None
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None
    error: str | None = None
    recorded: Record | None = None


class Teacher(Protocol):
    """A source of answers.

    Attributes:
        name: The model with its version; part of every record and its hash.
        decoding: How tokens are chosen; part of every record and its hash.
        tries_again: Whether another example may lead to another answer.
        concurrent: Answers whose times overlap, so that the seconds of each add up to more than the run takes.
    """

    decoding: str
    tries_again: bool
    concurrent: int

    @property
    def name(self) -> str:
        """See above."""

    def answer(
        self, prompts: Sequence[Prompt], stopped: Callable[[], bool]
    ) -> Generator[Sequence[Reply], None, None]:
        """Answers questions in any order, some at a time.

        Args:
            prompts: The questions.
            stopped: Whether no further question should be started; called between questions.

        Yields:
            The replies that are ready; the caller stores them before it asks for more.

        Raises:
            UserError: No further question can be answered.
        """

    def count_tokens(self, prompt: Prompt) -> tuple[int, str]:
        """Tokens of a question, and how they were counted, in words."""

"""What a teacher is asked. The wording is this package's own: the paper shows its prompt as an image only."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from recbole_clickprompt.knowledge.answers import Answer, render

__all__ = ["TEMPLATE", "Prompt", "Reference", "Subject", "build_prompt", "prompt_sha256"]

TEMPLATE = "1"  # version of the wording below; part of every record and of its hash

_SYSTEM = {
    "item": "You describe items for an advertising system. Answer in exactly three lines.",
    "user": "You describe users for an advertising system. Answer in exactly three lines.",
}
_NOUN = {"item": "Item", "user": "Profile"}
_WHAT = {
    "item": "what this is and why somebody wants it",
    "user": "who this is and what they look for",
}
_INSTRUCTION = (
    "Reasoning: one or two sentences: {what}.\n"
    "Explicit: 3 to 6 key phrases that stand in the text, separated by '; '.\n"
    "Implicit: 3 to 6 key phrases that follow from world knowledge and do not stand in the text, separated by "
    "'; '.\n"
    "A key phrase has one to four words."
)


class Subject(NamedTuple):
    """An item or a user's profile to be asked about.

    Attributes:
        key: Its token in the data set's files; ``<user>@<block>`` for a profile as of a block.
        level: ``item`` or ``user``.
        text: Its text without ids.
        stratum: The group that it is sampled from and reported in.
        weight: Weight in sampling, above 0.
        block: Block of a user's profile; None for items and static profiles.
    """

    key: str
    level: str
    text: str
    stratum: str
    weight: float = 1.0
    block: int | None = None


class Reference(NamedTuple):
    """An answer written by hand, which shows the teacher what is asked for.

    Attributes:
        id: Hash of its content.
        key: Its item or user; None if it is not of the data set.
        text: Its text.
        category: The stratum that it is an example for; None if unknown.
        answer: The answer.
    """

    id: str
    key: str | None
    text: str
    category: str | None
    answer: Answer


class Prompt(NamedTuple):
    """A question.

    Attributes:
        subject: What is asked about.
        example: Id of the reference; None if there is none.
        system: The system's message.
        user: The user's message.
    """

    subject: Subject
    example: str | None
    system: str
    user: str


def build_prompt(subject: Subject, reference: Reference | None) -> Prompt:
    """The question about an item or user, with a reference as its example if there is one."""
    noun = _NOUN[subject.level]
    parts = [_INSTRUCTION.format(what=_WHAT[subject.level])]
    if reference is not None:
        parts.append(f"{noun}: {reference.text}\nReasoning:{render(reference.answer)}")
    parts.append(f"{noun}: {subject.text}\n")
    example = None if reference is None else reference.id
    return Prompt(subject, example, _SYSTEM[subject.level], "\n\n".join(parts))


def prompt_sha256(*, model: str, decoding: str, template: str, example: str | None, subject: Subject) -> str:
    """Hash of everything that decides an answer.

    The id of an example is the hash of its content, so together with the template it stands for the prompt's whole
    text. A replay can therefore check a prompt without the references.
    """
    content = [model, decoding, template, example, subject.level, subject.text]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

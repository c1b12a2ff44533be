"""The answer of a teacher: a line of reasoning, and key phrases that are in the text or are not.

::

    Reasoning: A dark crime thriller for viewers who like suspense.
    Explicit: crime; 1995 film
    Implicit: serial killer; detective; dark mood
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Answer", "AnswerError", "clean", "folded_words", "occurs", "parse", "render", "with_text"]

_MOST_PHRASES = 12  # of a list
_MOST_WORDS = 8  # of a phrase
# "**Explicit:** ...", "2. Implicit key phrases: ..."; small models decorate labels in many ways
_LABEL = re.compile(
    r"^[\W\d_]*(reasoning|explicit|implicit)(?:\s+(?:key\s+)?phrases?)?\W*?:\s*(.*)$", re.IGNORECASE | re.DOTALL
)
_NEXT_QUESTION = re.compile(r"^\s*(item|profile)\s*:", re.IGNORECASE)  # models continue with further examples
_BULLET = re.compile(r"^(?:[-*•·–—]|\d{1,2}[.)](?=\s))\s*")  # noqa: RUF001
_DOUBLE, _SINGLE, _EMPHASIS = '"`“”„«»', "'‘’", "*_ "  # noqa: RUF001
_INITIALS = re.compile(r"(?:^|\s)(?:\w\.){2,}$")  # the full stop of "E.T." is part of the name


class Answer(NamedTuple):
    """A valid answer.

    Attributes:
        reasoning: One line; may be empty.
        explicit: Phrases that can be read off the text.
        implicit: Phrases that need knowledge of the world.
    """

    reasoning: str
    explicit: tuple[str, ...]
    implicit: tuple[str, ...]


class AnswerError(ValueError):
    """A text that is not a valid answer; the message says what is missing."""


def parse(text: str) -> Answer:
    """Reads an answer out of the text that a model wrote.

    Lines before the first label belong to the reasoning, so that the continuation of a prompt that ends in
    ``Reasoning:`` is read too. What follows a repeated label or the text of another question is not part of the
    answer.

    Args:
        text: Three labeled lines, or phrases as bullets on lines of their own.

    Returns:
        The answer, as ``clean`` leaves it.

    Raises:
        AnswerError: A label is missing, or has no phrase.
    """
    sections: dict[str, list[str]] = {}
    name = "reasoning"
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label:
            name = label[1].lower()
            if name in sections and (name != "reasoning" or len(sections) > 1):
                break
            line = label[2]
        elif len(sections) == 3 and _ends(line, sections[name]):
            break
        sections.setdefault(name, []).append(line)
    for label_name in ("explicit", "implicit"):
        if label_name not in sections:
            raise AnswerError(f"no line {label_name.capitalize()}: in {_shown(text)}")
    return clean(" ".join(sections.get("reasoning", [])), sections["explicit"], sections["implicit"])


def clean(reasoning: str, explicit: Iterable[str], implicit: Iterable[str]) -> Answer:
    """An answer of texts from anywhere.

    Phrases are split at semicolons and line ends and lose bullets, quotes and the full stop. Of phrases that
    differ in case only the first stays, explicit before implicit; those of more than eight words, and all after
    the twelfth of a list, are left out. Cleaning an answer again changes nothing.

    Raises:
        AnswerError: A list has no phrase.
    """
    seen: set[str] = set()
    answer = Answer(_line(reasoning), _phrases(explicit, seen), _phrases(implicit, seen))
    for name in ("explicit", "implicit"):
        if not getattr(answer, name):
            raise AnswerError(f"no {name} phrase of at most {_MOST_WORDS} words")
    return answer


def render(answer: Answer) -> str:
    """An answer as text that continues ``Reasoning:``; ``parse`` reads it with or without this label."""
    return f" {answer.reasoning}\nExplicit: {'; '.join(answer.explicit)}\nImplicit: {'; '.join(answer.implicit)}"


def with_text(answer: Answer, text: str) -> Answer:
    """The answer about a text, with implicit phrases that occur in the text moved to the explicit ones.

    Raises:
        AnswerError: Nothing implicit is left.
    """
    moved = tuple(phrase for phrase in answer.implicit if occurs(phrase, text))
    if not moved:
        return answer
    if len(moved) == len(answer.implicit):
        raise AnswerError("every implicit phrase occurs in the text")
    kept = tuple(phrase for phrase in answer.implicit if phrase not in moved)
    return Answer(answer.reasoning, (*answer.explicit, *moved)[:_MOST_PHRASES], kept)


def occurs(phrase: str, text: str) -> bool:
    """Whether the words of a phrase are in a text one after the other; case and plural do not matter."""
    words, of_text = folded_words(phrase), folded_words(text)
    starts = range(len(of_text) - len(words) + 1)
    return bool(words) and any(of_text[start : start + len(words)] == words for start in starts)


def folded_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation and plural endings."""
    return [_singular(word) for word in re.findall(r"\w+", re.sub("['’]", "", text.lower()))]  # noqa: RUF001


def _singular(word: str) -> str:
    if len(word) < 4 or word.endswith("ss"):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word.removesuffix("s")


def _ends(line: str, section: list[str]) -> bool:
    """Whether a line after the last label is no longer part of the answer."""
    return bool(_NEXT_QUESTION.match(line)) or (not line.strip() and any(map(str.strip, section)))


def _phrases(texts: Iterable[str], seen: set[str]) -> tuple[str, ...]:
    found: list[str] = []
    for text in texts:
        for part in re.split(r"[;\n]", text):
            phrase = _phrase(part)
            if not phrase or phrase.lower() in seen or len(phrase.split()) > _MOST_WORDS:
                continue
            seen.add(phrase.lower())
            found.append(phrase)
    return tuple(found[:_MOST_PHRASES])


def _phrase(text: str) -> str:
    phrase = " ".join(text.split())
    while True:
        shorter = _unquoted(_BULLET.sub("", phrase).strip(_EMPHASIS))
        if not _INITIALS.search(shorter):
            shorter = shorter.rstrip(". ")
        if shorter == phrase:
            return phrase
        phrase = shorter


def _unquoted(phrase: str) -> str:
    """The phrase without quotes around all of it; those around a part of it stay."""
    if phrase[:1] in _SINGLE and phrase[-1:] in _SINGLE:
        return phrase.strip(_SINGLE)
    inside = phrase.strip(_DOUBLE)
    return phrase if set(inside) & set(_DOUBLE) else inside


def _line(text: str) -> str:
    return " ".join(text.split()).strip("*_ ")


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return f"{line[:60]!r}" if line else "an empty answer"

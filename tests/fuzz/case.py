"""What a file type brings to the fuzzer: a mutation of the valid material, a command line, and a judge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar

from tests.fuzz.sandbox import Answer

# Says what is wrong with a call that ended with exit code 0; empty if nothing is
Judge = Callable[[Answer], str]


def no_objection(answer: Answer) -> str:
    """The judge of a mutation for which any output is right."""
    return ""


@dataclass
class Attempt:
    """A mutated input in the working folder and what is called on it.

    Attributes:
        what: The mutation, in words.
        command: Of ``recbole-cp``.
        judge: See ``Judge``.
        environment: Further variables.
        outputs: Further files that the command may write; None for any new file.
    """

    what: str
    command: list[str]
    judge: Judge = no_objection
    environment: dict[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] | None = ()


class Case:
    """A file type.

    Attributes:
        name: As the table shows it.
        weight: How often it is drawn, relative to others.
        outputs: Files and folders of the working folder that the command may write, beside ``out`` and RecBole's.
    """

    name: ClassVar[str]
    weight: ClassVar[float] = 1.0
    outputs: ClassVar[tuple[str, ...]] = ()

    def attempt(self, rng: Random) -> Attempt:
        """Mutates a file of the working folder, which holds a copy of the material."""
        raise NotImplementedError


_OF_RECBOLE = ("log", "log_tensorboard", "out")


def hashes(folder: Path, outputs: tuple[str, ...] = ()) -> dict[str, str]:
    """SHA-256 of all files but those in outputs, by their path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] not in _OF_RECBOLE and str(name) not in outputs and name.parts[0] not in outputs:
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def changed_files(before: dict[str, str], after: dict[str, str], *, may_add: bool) -> str:
    """In words, which files are not as they were; empty if all are."""
    names = before.keys() if may_add else before.keys() | after.keys()
    differing = sorted(name for name in names if before.get(name) != after.get(name))
    return f"input files were changed or added: {', '.join(differing[:5])}" if differing else ""

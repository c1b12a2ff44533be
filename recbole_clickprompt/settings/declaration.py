"""What is declared of a setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from recbole_clickprompt.settings.types import ValueType

__all__ = ["BACKBONE", "DATA_SET", "RECBOLE", "Elsewhere", "Setting", "Stage", "grouped"]

Stage = Literal["pretrain", "finetune", "text", "none"]


@dataclass(frozen=True)
class Elsewhere:
    """In the place of a default that a setting has somewhere else; ``where`` is shown instead."""

    where: str


RECBOLE = Elsewhere("RecBole's")
DATA_SET = Elsewhere("in the data set's file")
BACKBONE = Elsewhere("in the backbone's file")


@dataclass(frozen=True)
class Setting:
    """A setting.

    Attributes:
        type: The values it may have.
        default: Its value where nobody sets it; an ``Elsewhere`` where a declaration cannot say.
        meaning: One or more sentences.
        stage: What it determines. ``pretrain``: pretraining, and finetuning, which starts from it. ``finetune``:
            finetuning and evaluation alone. ``text``: as ``pretrain``, where pretraining reads text. ``none``:
            nothing that is trained, such as where a run takes place and what it shows.
        method: The method that reads it; empty for all.
        group: The heading in property files and documentation.
    """

    type: ValueType
    default: Any
    meaning: str
    stage: Stage
    method: str = ""
    group: str = ""

    @property
    def expected(self) -> str:
        """The possible values in words, for an error."""
        return self.type.expected

    def accepts(self, value: Any) -> bool:
        """Whether the setting may have this value."""
        return self.type.accepts(value)


def grouped(groups: Mapping[str, Mapping[str, Setting]]) -> dict[str, Setting]:
    """The settings of all groups, each with the heading of its group."""
    return {
        name: replace(setting, group=group)
        for group, settings in groups.items()
        for name, setting in settings.items()
    }

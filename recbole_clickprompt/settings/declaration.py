"""The declaration of a setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from recbole_clickprompt.settings.types import ValueType

__all__ = ["BACKBONE", "DATA_SET", "RECBOLE", "Elsewhere", "Setting", "Stage", "grouped"]

Stage = Literal["pretrain", "finetune", "text", "none"]


@dataclass(frozen=True)
class Elsewhere:
    """Marks a default that is defined outside the declarations; documentation shows ``where``."""

    where: str


RECBOLE = Elsewhere("RecBole's")
DATA_SET = Elsewhere("in the data set's file")
BACKBONE = Elsewhere("in the backbone's file")


@dataclass(frozen=True)
class Setting:
    """A setting.

    Attributes:
        type: The type of its values.
        default: Its default value; an ``Elsewhere`` if the default is defined outside the declarations.
        meaning: One or more sentences.
        stage: What a change of the setting affects. ``pretrain``: pretraining, and therefore finetuning, which
            starts from it. ``finetune``: only finetuning and evaluation. ``text``: as ``pretrain``, but only if
            pretraining reads text. ``none``: no trained result, as with paths, devices and output.
        method: The method that reads it; empty for all methods.
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
        """Description of the valid values, for error messages."""
        return self.type.expected

    def accepts(self, value: object) -> bool:
        """Whether a value of any type is valid for this setting."""
        return self.type.accepts(value)


def grouped(groups: Mapping[str, Mapping[str, Setting]]) -> dict[str, Setting]:
    """Merges groups of settings into one mapping; each setting gets the heading of its group."""
    return {
        name: replace(setting, group=group)
        for group, settings in groups.items()
        for name, setting in settings.items()
    }

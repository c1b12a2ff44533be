"""The examples of self-training: values of fields, each to be matched with the name of its field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.text.source import TextSource

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

__all__ = ["EXAMPLE", "FieldValue", "FieldValues", "field_values"]

EXAMPLE = "example"  # column of a batch: numbers of examples, (B,) int64


class FieldValue(NamedTuple):
    """A value of a field.

    Attributes:
        text: The value in words.
        field: Number of its field in ``FieldValues.names``.
    """

    text: str
    field: int


class FieldValues:
    """Values that a loader reads by number.

    Args:
        names: Of the fields, in words.
        values: Of all fields.
    """

    def __init__(self, names: Sequence[str], values: Sequence[FieldValue]) -> None:
        self.names, self.values = list(names), list(values)

    def __len__(self) -> int:
        """Number of values."""
        return len(self.values)

    def __getitem__(self, numbers: np.ndarray | torch.Tensor) -> Interaction:
        """The numbers as a batch, ``(B,)``; the model of the stage has the texts."""
        from recbole.data.interaction import Interaction

        return Interaction({EXAMPLE: torch.as_tensor(numbers, dtype=torch.int64)})

    def digest(self) -> str:
        """A hash of all names and values in their order."""
        return hashlib.sha256(json.dumps([self.names, self.values]).encode()).hexdigest()


def field_values(dataset: TextSource, *, most: int, seed: int) -> FieldValues:
    """The values of the fields of ``text_fields`` that occur in the rows of a data set.

    Args:
        dataset: Its training rows.
        most: Values of a field, drawn by the seed if there are more.
        seed: Of the run.

    Raises:
        SettingError: ``text_fields`` has fewer than two fields.
        DataError: Two fields have the same name.
    """
    fields = dataset.textualizer().fields
    names = [field.name for field in fields]
    if len(fields) < 2:
        raise SettingError(
            f"text_fields has {len(fields)} field, but self-training tells the names of fields apart; add others, "
            "or set pretrain_epochs: 0"
        )
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise DataError(f"text_fields has the name {name!r} twice, so its fields cannot be told apart; change one")
    rows, found = dataset[torch.arange(len(dataset))], []
    for number, field in enumerate(fields):
        codes = np.unique(field.codes[rows[field.key].unique().numpy()])
        codes = codes[codes >= 0]
        if len(codes) > most:
            codes = np.sort(np.random.default_rng((seed, number)).choice(codes, most, replace=False))
        found += [FieldValue(field.value(code).strip().removesuffix("."), number) for code in codes.tolist()]
    return FieldValues(names, found)

"""Which tokens of a row's text belong to which field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_clickprompt.data.text import Textualizer

__all__ = ["RowTokens", "row_tokens"]


@dataclass(frozen=True)
class RowTokens:
    """The tokens of one row.

    Attributes:
        input_ids: As the PLM reads them, special ones included.
        fields: Name in words of each field that the row has: the places of its value's tokens. Those of the name,
            of ``is`` and of the full stop are no part of it, and neither is what was cut at the end.
    """

    input_ids: list[int]
    fields: dict[str, list[int]]


def row_tokens(
    textualizer: Textualizer, names: Sequence[str], tokenizer: Any, row: Mapping[str, int], *, max_length: int
) -> RowTokens:
    """Tokenises the sentence of a row and finds the values in it.

    Args:
        textualizer: Text of the rows.
        names: Names in words of its fields, in their order.
        tokenizer: A fast Hugging Face tokenizer.
        row: The id in each key column.
        max_length: Most tokens of a row, special ones included; the end of a longer text is cut.
    """
    values: dict[str, range] = {}  # characters
    start = 0
    for name, field in zip(names, textualizer.fields, strict=True):
        code = field.codes[int(row[field.key])]
        if code >= 0:
            part = field.parts[code]
            values[name] = range(start + len(f"{name} is "), start + len(part) - len("."))
            start += len(part) + 1  # and the blank behind it
    encoded = tokenizer(
        textualizer.sentence(row),
        truncation=True,
        max_length=max_length,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    places: dict[str, list[int]] = {name: [] for name in values}
    columns = zip(encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True)
    for place, ((first, last), special) in enumerate(columns):
        for name, value in values.items():
            if not special and first < value.stop and last > value.start:
                places[name].append(place)
    return RowTokens(encoded["input_ids"], {name: where for name, where in places.items() if where})

"""The text of a row once for each of its fields, with the field's value masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recbole_clickprompt.text.tokens import Batch, TokenTable

__all__ = ["MaskedFields", "masked_fields"]


@dataclass(frozen=True)
class MaskedFields:
    """F versions of the text of one row.

    Attributes:
        names: The masked fields in words, in the order of the text; those that the row has.
        text: What the PLM takes: tokens, ``(F, Z)``, or with joint layers states, ``(F, Z, W)``.
        asked: True where the field is to be recovered, ``(F, Z)``.
    """

    names: list[str]
    text: Tensor
    asked: Tensor


@torch.no_grad()
def masked_fields(table: TokenTable, plm: Any, row: Batch, *, mask_id: int | None) -> MaskedFields:
    """Masks one field at a time.

    Args:
        table: Tokens of the rows.
        plm: The prompted encoder that will read them; it makes the states where its lower layers read each part
            of a row alone.
        row: Columns of ids, each ``(1,)``.
        mask_id: The mask token. None for a PLM that reads forward: nothing is masked, and the token before each
            one of the value is asked.
    """
    if plm.num_frozen_layers:
        parts = _parts_alone(table, row)
    else:
        parts = [(table(row)[0][0], table.fields(row)[0], slice(None))]
    numbers = torch.cat([fields for _, fields, _ in parts]).unique()
    numbers = numbers[numbers > 0].unsqueeze(1)  # (F, 1)
    texts, asked = [], []
    for tokens, fields, kept in parts:
        of_field = fields == numbers  # (F, N)
        read = tokens.expand(len(numbers), -1)
        read = read if mask_id is None else read.masked_fill(of_field, mask_id)
        if plm.num_frozen_layers:
            read = plm.encode_lower(read, torch.full((len(read),), read.shape[1], device=read.device))
        texts.append(read[:, kept])
        asked.append(of_field[:, kept])
    text, where = (torch.cat(pieces, dim=1)[:, : table.max_length] for pieces in (texts, asked))
    if mask_id is None:
        where = torch.cat([where[:, 1:], torch.zeros_like(where[:, :1])], dim=1)
    there = where.any(1)  # the end of a long text is cut
    names = [table.textualizer.fields[number - 1].name for number in numbers[there].flatten().tolist()]
    return MaskedFields(names, text[there], where[there])


def _parts_alone(table: TokenTable, row: Batch) -> list[tuple[Tensor, Tensor, slice]]:
    """For each key its tokens with special ones around, the field of each, and which belong to the row's text."""
    parts, special = [], len(table.prefix) + len(table.suffix)
    for index, key in enumerate(table.keys):
        tokens, fields, offsets = table.segment(index)
        start, stop = (int(offset) for offset in offsets[int(row[key]) :][:2])
        inside = slice(start, min(stop, start + table.max_length - special))
        own, of_own = tokens[inside].long(), fields[inside].long()
        before, behind = own.new_tensor(table.prefix), own.new_tensor(table.suffix)
        last = index == len(table.keys) - 1
        kept = slice(len(before) if index else 0, special + len(own) - (0 if last else len(behind)))
        nothing = (torch.zeros_like(before), torch.zeros_like(behind))
        parts.append((torch.cat([before, own, behind]), torch.cat([nothing[0], of_own, nothing[1]]), kept))
    return parts

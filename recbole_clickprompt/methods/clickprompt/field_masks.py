"""The text of a row once for each of its fields, with the value of that field masked.

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.text.tokens import Batch, TokenTable

__all__ = ["MaskedFields", "masked_fields"]


@dataclass(frozen=True)
class MaskedFields:
    """Versions of the text of one row, one for each field of the text that the row has::

        names     text                                       targets
        user ID   [CLS] user ID is [M] . item ID is i0 .     0 0 0 0 1 0 0 0 0 0 0
        item ID   [CLS] user ID is u0 . item ID is [M] .     0 0 0 0 0 0 0 0 0 1 0

    Attributes:
        names: The masked fields in words, in the order of the text.
        text: Input of the PLM: tokens, ``(fields, Z)``, or with interaction layers states, ``(fields, Z, W)``.
        targets: True at positions that predict a token of the field, ``(fields, Z)``.
    """

    names: list[str]
    text: Tensor
    targets: Tensor


@torch.no_grad()
def masked_fields(table: TokenTable, plm: PromptedEncoder, row: Batch, *, mask_id: int | None) -> MaskedFields:
    """Masks one field at a time.

    Args:
        table: Tokens of the rows.
        plm: Encoder that will read the text; its frozen layers, if it has any, compute the states.
        row: Columns of ids of one row, each ``(1,)``.
        mask_id: The mask token. None for a causal PLM: nothing is masked, and the position before each token of
            the value predicts it.
    """
    if plm.num_frozen_layers:
        parts = _separate_texts(table, row)
    else:
        parts = [(table(row)[0][0], table.fields(row)[0], slice(None))]
    numbers = torch.cat([fields for _, fields, _ in parts]).unique()
    numbers = numbers[numbers > 0].unsqueeze(1)  # (fields, 1)
    texts, targets = [], []
    for tokens, fields, kept in parts:
        in_field = fields == numbers  # (fields, tokens)
        read = tokens.expand(len(numbers), -1)
        read = read if mask_id is None else read.masked_fill(in_field, mask_id)
        if plm.num_frozen_layers:
            read = plm.encode_lower(read, torch.full((len(read),), read.shape[1], device=read.device))
        texts.append(read[:, kept])
        targets.append(in_field[:, kept])
    text, target = (torch.cat(pieces, dim=1)[:, : table.max_length] for pieces in (texts, targets))
    if mask_id is None:
        target = torch.cat([target[:, 1:], torch.zeros_like(target[:, :1])], dim=1)
    present = target.any(1)  # false for fields in the part of a long text that is cut
    names = [table.textualizer.fields[number - 1].name for number in numbers[present].flatten().tolist()]
    return MaskedFields(names, text[present], target[present])


def _separate_texts(table: TokenTable, row: Batch) -> list[tuple[Tensor, Tensor, slice]]:
    """The texts of a row's keys as frozen layers read them: one row of ``entity_texts`` for each key.

    Returns:
        For each key its tokens between special tokens, ``(tokens,)``; the field of each token, ``(tokens,)``; and
        which of them are part of the row's text.
    """
    parts, special = [], len(table.prefix) + len(table.suffix)
    for index, key in enumerate(table.keys):
        tokens, fields, offsets = table.segment(index)
        start, stop = (int(offset) for offset in offsets[int(row[key]) :][:2])
        inside = slice(start, min(stop, start + table.max_length - special))
        text, text_fields = tokens[inside].long(), fields[inside].long()
        prefix, suffix = text.new_tensor(table.prefix), text.new_tensor(table.suffix)
        last = index == len(table.keys) - 1
        kept = slice(len(prefix) if index else 0, special + len(text) - (0 if last else len(suffix)))
        all_fields = torch.cat([torch.zeros_like(prefix), text_fields, torch.zeros_like(suffix)])
        parts.append((torch.cat([prefix, text, suffix]), all_fields, kept))
    return parts

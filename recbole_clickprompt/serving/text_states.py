"""States of a PLM's frozen layers for rows: those of known texts are looked up, unseen texts are encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recbole_clickprompt.preprocessing.schema import Text
from recbole_clickprompt.serving.text import NEW_LENGTHS, NEW_TOKENS
from recbole_clickprompt.text.states import StateTable

__all__ = ["RowsWithStates", "TextStates"]

_TEXTS_PER_BATCH = 128


class RowsWithStates(NamedTuple):
    """Some rows, and the table that holds the states of all of their texts.

    Attributes:
        rows: Their numbers, ``(N,)``.
        table: Reads ``columns``.
        columns: The columns of these rows, with those of ids that the table reads.
    """

    rows: np.ndarray
    table: StateTable
    columns: dict[str, np.ndarray]


class TextStates:
    """Finds the states of the texts of rows.

    Args:
        table: States of the texts of the training data.
        text: How text was tokenized.
        encode: Runs the frozen layers: tokens, ``(N, Z)``, and lengths, ``(N,)``, to states, ``(N, Z, W)``.
    """

    def __init__(self, table: StateTable, text: Text, encode: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.table, self._text, self._encode = table, text, encode

    def parts(self, columns: Mapping[str, np.ndarray]) -> Iterator[RowsWithStates]:
        """The rows whose texts training saw, with ``table``; then the others, with a table of their texts alone.

        Args:
            columns: Columns of B rows, as ``RowEncoder`` returns them; each unseen text is encoded once.
        """
        unseen = columns[NEW_LENGTHS].any(axis=1)
        for rows in (np.flatnonzero(~unseen), np.flatnonzero(unseen)):
            if len(rows):
                part = columns if len(rows) == len(unseen) else {name: v[rows] for name, v in columns.items()}
                tokens = {name: part[name] for name in (NEW_TOKENS, NEW_LENGTHS)}
                part = {name: values for name, values in part.items() if name not in tokens}
                if unseen[rows[0]]:
                    yield RowsWithStates(rows, *self._own_table(part, tokens[NEW_TOKENS], tokens[NEW_LENGTHS]))
                else:
                    yield RowsWithStates(rows, self.table, part)

    def _own_table(
        self, columns: dict[str, np.ndarray], tokens: np.ndarray, counts: np.ndarray
    ) -> tuple[StateTable, dict[str, np.ndarray]]:
        """A table of the states of these rows' texts, and the columns with the ids that it reads.

        Args:
            columns: Columns of the rows.
            tokens: Tokens of their unseen texts, one after another, ``(B, Z)``.
            counts: Tokens of each unseen text; 0 for known ones, ``(B, S)``.
        """
        ends, states, offsets, begin = counts.cumsum(axis=1), [], [], 0
        columns = dict(columns)
        for index, key in enumerate(self.table.keys):
            new = counts[:, index] > 0
            known, place = np.unique(columns[key][~new], return_inverse=True)
            texts: dict[tuple[int, ...], int] = {}
            numbers = [
                texts.setdefault(tuple(tokens[row, end - count : end].tolist()), len(texts))
                for row, end, count in zip(np.flatnonzero(new), ends[new, index], counts[new, index], strict=True)
            ]
            ids = np.empty(len(new), dtype=np.int64)
            ids[~new], ids[new] = place, np.array(numbers, dtype=np.int64) + len(known)
            columns[_ids_column(index)] = ids
            found = [*self._known(index, known), *self._encoded(index, list(texts))]
            lengths = torch.tensor([0, *map(len, found)])
            offsets.append(lengths.cumsum(0) + begin)
            begin = int(offsets[-1][-1])
            states += found
        device = self.table.states.device
        table = StateTable(
            keys=[_ids_column(index) for index in range(len(self.table.keys))],
            offsets=[part.to(device) for part in offsets],
            states=torch.cat(states),
            copies=1,
            max_length=self.table.max_length,
        )
        return table, columns

    def _known(self, index: int, ids: np.ndarray) -> list[Tensor]:
        """States of known texts of the key ``index``, ``(tokens, W)`` each."""
        offsets, places = self.table.get_buffer(f"offsets_{index}"), torch.from_numpy(ids)
        begins, ends = (offsets[places.to(offsets.device) + step].tolist() for step in (0, 1))
        return [self.table.states[begin:end] for begin, end in zip(begins, ends, strict=True)]

    def _encoded(self, index: int, texts: list[tuple[int, ...]]) -> list[Tensor]:
        """States of unseen texts of the key ``index``, ``(tokens, W)`` each, rounded to bf16 like known ones.

        Each is encoded between special tokens, of which those at the ends of a row are kept.
        """
        prefix, suffix, device = self._text.prefix, self._text.suffix, self.table.states.device
        limit = self._text.max_length - len(prefix) - len(suffix)
        whole = [torch.tensor([*prefix, *text[:limit], *suffix]) for text in texts]
        begin = len(prefix) if index else 0
        kept_suffix = index == len(self.table.keys) - 1
        states: list[Tensor] = [torch.empty(0)] * len(texts)
        order = sorted(range(len(whole)), key=lambda number: len(whole[number]))
        for start in range(0, len(order), _TEXTS_PER_BATCH):
            batch = order[start : start + _TEXTS_PER_BATCH]
            input_ids = torch.nn.utils.rnn.pad_sequence([whole[number] for number in batch], batch_first=True)
            lengths = torch.tensor([len(whole[number]) for number in batch])
            encoded = self._encode(input_ids.to(device), lengths.to(device)).to(self.table.states.dtype)
            for number, text, length in zip(batch, encoded, lengths.tolist(), strict=True):
                states[number] = text[begin : length if kept_suffix else length - len(suffix)]
        return states


def _ids_column(index: int) -> str:
    """Name of the column of ids of texts of the key ``index``."""
    return f"text_{index}_id"

"""The beginning that all questions of a batch share: a model reads it once.

Questions begin with the same instruction, and those with one reference with the same example. Padding goes between
this beginning and the rest of a question, where it is masked, so that positions do not count it::

    | instruction, example | padding | Item: ... |
    | instruction, example | Item: ............. |
      read once for all rows   read for each row
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recbole_clickprompt.knowledge.teachers.decoding import last_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PaddedRows", "in_batches", "pad_after_prefix", "read_once", "shares_prefixes"]

_SHORTEST = 16  # tokens; less is not worth a pass of its own


class PaddedRows:
    """Rows of tokens of one length.

    Attributes:
        tokens: ``(B, Z)`` int64.
        mask: 1 at tokens and 0 at padding, ``(B, Z)`` int64.
        prefix_len: Tokens at the start that all rows share; 0 if they are few.
    """

    def __init__(self, tokens: Tensor, mask: Tensor, prefix_len: int) -> None:
        self.tokens, self.mask, self.prefix_len = tokens, mask, prefix_len


def pad_after_prefix(rows: Sequence[Sequence[int]], *, pad: int, share: bool) -> PaddedRows:
    """Pads rows on the left, or after their common beginning.

    Args:
        rows: B rows of tokens; none is empty.
        pad: The padding token.
        share: Whether padding may follow a common beginning.
    """
    # At least one token of each row is left to read: generation starts from it
    equal = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    common = min(sum(1 for _ in equal), min(map(len, rows)) - 1)
    prefix = common if share and len(rows) > 1 and common >= _SHORTEST else 0
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), pad)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        begin = prefix + width - len(row)
        tokens[number, :prefix], tokens[number, begin:] = torch.tensor(row[:prefix]), torch.tensor(row[prefix:])
        mask[number, :prefix] = mask[number, begin:] = 1
    return PaddedRows(tokens, mask, prefix)


def shares_prefixes(model: PreTrainedModel) -> bool:
    """Whether keys and values of a beginning can be used for several rows: all layers attend to all tokens."""
    from transformers import DynamicCache

    config = model.config
    if config.is_encoder_decoder or getattr(config, "position_embedding_type", None) == "alibi":
        return False
    cache = DynamicCache(config=config)
    return not any(cache.is_sliding) and all(hasattr(layer, "keys") for layer in cache.layers)


def read_once(model: PreTrainedModel, rows: PaddedRows) -> Any:
    """Keys and values of the common beginning for all rows; None without one."""
    from transformers import DynamicCache

    if not rows.prefix_len:
        return None
    cache = DynamicCache(config=model.config)
    model(input_ids=rows.tokens[:1, : rows.prefix_len], past_key_values=cache, use_cache=True, **last_only(model))
    cache.batch_repeat_interleave(len(rows.tokens))
    return cache


def in_batches(groups: Sequence[tuple[str | None, int]], most_rows: Sequence[int]) -> list[list[int]]:
    """Divides questions into batches that share as much as possible.

    Args:
        groups: Of each question, its example and its number of tokens.
        most_rows: Of each question, how many of its length fit into a batch.

    Returns:
        Numbers of the questions of each batch: those with one example together, the longest first. A batch ends
        where the example changes, unless it would be less than half full.
    """
    longest: dict[str | None, int] = {}
    for example, length in groups:
        longest[example] = max(length, longest.get(example, 0))
    order = sorted(
        range(len(groups)),
        key=lambda n: (-longest[groups[n][0]], str(groups[n][0]), -groups[n][1], n),
    )
    batches: list[list[int]] = []
    while order:
        rows = min(most_rows[number] for number in order[: most_rows[order[0]]])
        batch = order[:rows]
        same = next((i for i, n in enumerate(batch) if groups[n][0] != groups[batch[0]][0]), len(batch))
        if same < len(batch) and 2 * same >= rows:
            batch = batch[:same]
        batches.append(batch)
        order = order[len(batch) :]
    return batches

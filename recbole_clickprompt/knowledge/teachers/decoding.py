"""Greedy decoding of a batch in which rows that have ended are not computed any more."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from recbole_clickprompt.knowledge.teachers.labeled_lines import LineWriter
    from recbole_clickprompt.knowledge.teachers.shared_prefix import PaddedRows

__all__ = ["last_only", "write_lines"]

_ENDED = 0.25  # share of a batch that has ended before the others are moved together, which copies their cache


def write_lines(model: PreTrainedModel, rows: PaddedRows, writer: LineWriter, cache: Any) -> None:
    """Lets a causal model write the answers of a batch.

    ``generate`` computes every row until the longest answer ends.

    Args:
        model: Its layers attend to all tokens (``shares_prefixes``).
        rows: Questions, on the model's device.
        writer: Chooses tokens and keeps the answers.
        cache: Keys and values of the first ``rows.prefix_len`` tokens; None without a common beginning.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config) if cache is None else cache
    options = {**last_only(model), "past_key_values": cache, "use_cache": True}
    left = list(range(len(rows.tokens)))  # rows of the batch that are still computed
    mask = rows.mask
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, rows.prefix_len :]  # (B, Z - prefix)
    tokens = rows.tokens[:, rows.prefix_len :]  # (B, Z - prefix)
    while True:
        scores = model(input_ids=tokens, attention_mask=mask, position_ids=positions, **options).logits[:, -1]
        chosen = writer.choose(scores, left)
        places = [place for place, row in enumerate(left) if not writer.has_ended(row)]
        if not places:
            return
        tokens = torch.tensor(chosen, device=mask.device).unsqueeze(1)  # (B, 1)
        positions = positions[:, -1:] + 1
        if len(places) <= (1 - _ENDED) * len(left):
            index = torch.tensor(places, device=mask.device)
            cache.batch_select_indices(index)
            tokens, positions, mask = tokens[index], positions[index], mask[index]
            left = [left[place] for place in places]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


def last_only(model: PreTrainedModel) -> dict[str, int]:
    """The argument that asks for the scores of the last token alone, if the model has it."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}

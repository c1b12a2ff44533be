"""A single joint layer whose weights do not change: its keys and values of every text, made once."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_clickprompt.data.states import StateTable
from recbole_clickprompt.data.tokens import Batch
from recbole_clickprompt.model.plm.encoder import PromptedEncoder
from recbole_clickprompt.model.plm.layouts import LAYOUTS

__all__ = ["FixedLayer"]

_STATES_AT_ONCE = 1 << 14
_MOST_BYTES = 2 << 30


class FixedLayer:
    """Scores many rows with one set of weights.

    What a layer makes of a user's or an item's states as keys and values is the same in every row, so it is
    looked up; only prompts, one query a row and what follows it are computed.

    Args:
        plm: Its last layer is the only one that sees whole rows.
        table: States of the texts.
    """

    def __init__(self, plm: PromptedEncoder, table: StateTable) -> None:
        self.plm, self.table = plm, table
        layout = LAYOUTS[plm.encoder.config.model_type](plm.encoder)
        pairs = [
            layout.keys_values(plm.first_layer, states.float().unsqueeze(0), None)
            for states in table.states.split(_STATES_AT_ONCE)
        ]
        self.keys, self.values = (torch.cat(parts, dim=1)[0] for parts in zip(*pairs, strict=True))

    @staticmethod
    def serves(plm: PromptedEncoder, table: StateTable) -> bool:
        """There is one such layer, its keys do not depend on places, and all of them fit into memory."""
        size = 2 * table.states.numel() * 4
        has_places = LAYOUTS[plm.encoder.config.model_type].keys_have_places
        return plm.prompt_layers == 1 and not has_places and size <= _MOST_BYTES

    def __call__(self, batch: Batch, prompts: Tensor | None) -> Tensor:
        """What ``SummaryPooling`` gives for these rows: ``(B, W)``. Prompts are ``(1, B, K, W)`` or None."""
        places, lengths = self.table.places(batch)
        position = (lengths - 1 if self.plm.causal else torch.zeros_like(lengths)).unsqueeze(1)
        inputs = self.table.gather(places.gather(1, position)).float()
        key, value = (
            made.index_select(0, places.flatten()).unflatten(0, places.shape) for made in (self.keys, self.values)
        )
        return self.plm.last_layer(inputs, position, key, value, lengths, prompts)[:, 0]

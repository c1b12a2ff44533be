"""A single joint layer whose weights do not change: what it makes of every text alone is made once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_clickprompt.data.states import StateTable
from recbole_clickprompt.data.tokens import Batch
from recbole_clickprompt.model.plm.encoder import PromptedEncoder
from recbole_clickprompt.model.plm.layouts import LAYOUTS, Layout
from recbole_clickprompt.model.prompt import PromptGenerator

__all__ = ["FixedLayer"]

_STATES_AT_ONCE = 1 << 14
_MOST_BYTES = 2 << 30


class FixedLayer:
    """Scores many rows with one set of weights.

    Keys and values of a user's or an item's states are the same in every row, so they are looked up. Where a
    layer's keys and values are affine in a prompt, the second layer of the prompt's MLP and the projections are
    one matrix. What is left for each row is q's way through the prompts, one query, and what follows it.

    Args:
        plm: Its last layer is the only one that sees whole rows.
        prompt: Makes its prompts of q; anything else gives prompts or None.
        table: States of the texts.
    """

    def __init__(self, plm: PromptedEncoder, prompt: nn.Module, table: StateTable) -> None:
        self.plm, self.prompt, self.table = plm, prompt, table
        layout = self._layout()
        pairs = [
            torch.cat(layout.keys_values(plm.first_layer, states.float().unsqueeze(0), None), dim=2)[0]
            for states in table.states.split(_STATES_AT_ONCE)
        ]
        self.pairs = torch.cat(pairs)  # (N, 2 W), in the precision that scores are computed in
        self.folded: tuple[PromptGenerator, Tensor, Tensor] | None = None
        if layout.affine_keys_values and isinstance(prompt, PromptGenerator):
            self.folded = (prompt, *self._fold(layout, prompt))

    @staticmethod
    def serves(plm: PromptedEncoder, table: StateTable) -> bool:
        """There is one such layer, its keys do not depend on places, and all of them fit into memory."""
        size = 2 * table.states.numel() * 4
        has_places = LAYOUTS[plm.encoder.config.model_type].keys_have_places
        return plm.prompt_layers == 1 and not has_places and size <= _MOST_BYTES

    def __call__(self, batch: Batch, q: Tensor) -> Tensor:
        """What ``SummaryPooling`` gives for these rows, ``(B, W)``; q is ``(B, Q)``."""
        layout, index = self._layout(), self.plm.first_layer
        places, lengths = self.table.places(batch)
        position = (lengths - 1 if self.plm.causal else torch.zeros_like(lengths)).unsqueeze(1)
        inputs = self.table.gather(places.gather(1, position)).float()  # (B, 1, W)
        of_text = self.pairs.index_select(0, places.flatten()).unflatten(0, places.shape)  # (B, Z, 2 W)
        query = layout.queries(index, inputs, position)
        seen = torch.arange(places.shape[1], device=lengths.device) < lengths.unsqueeze(1)
        scores = self._scores(layout, query, of_text)
        bias = layout.bias(index, query, of_text.chunk(2, dim=2)[0], position)
        if bias is not None:
            scores = scores + bias[:, :, 0].transpose(1, 2)
        scores = scores.masked_fill(~layout.mask(index, seen, position).transpose(1, 2), -torch.inf)
        of_prompts = self._of_prompts(layout, q)
        if of_prompts is None:
            attended = self._weighted(scores.softmax(1), of_text)
        else:
            count = of_prompts.shape[1]
            weights = torch.cat([self._scores(layout, query, of_prompts), scores], dim=1).softmax(1)
            attended = self._weighted(weights[:, :count], of_prompts) + self._weighted(weights[:, count:], of_text)
        return layout.finish(layout.combine(index, attended.unsqueeze(1), inputs))[:, 0]

    def _layout(self) -> Layout:
        return LAYOUTS[self.plm.encoder.config.model_type](self.plm.encoder)

    def _fold(self, layout: Layout, prompt: PromptGenerator) -> tuple[Tensor, Tensor]:
        """``(K, W, 2 W)`` and ``(K, 1, 2 W)``: from hidden states of prompts to keys and values."""

        def pair(states: Tensor) -> Tensor:
            return torch.cat(layout.keys_values(self.plm.first_layer, states, None), dim=2)

        with torch.autocast(prompt.weight.device.type, enabled=False):
            nothing = pair(torch.zeros_like(prompt.bias))
            # Autocast would convert them anew in every batch
            return (pair(prompt.weight) - nothing).to(self.pairs.dtype), pair(prompt.bias).to(self.pairs.dtype)

    def _of_prompts(self, layout: Layout, q: Tensor) -> Tensor | None:
        """Keys and values of the prompts, ``(B, K, 2 W)``."""
        if self.folded is not None:
            prompt, weight, bias = self.folded
            return torch.baddbmm(bias, prompt.hidden_states(q), weight).transpose(0, 1)
        prompts = self.prompt(q)
        if prompts is None:
            return None
        return torch.cat(self.plm.prompt_keys_values(layout, self.plm.first_layer, prompts[-1]), dim=2)

    def _scores(self, layout: Layout, query: Tensor, pairs: Tensor) -> Tensor:
        """Scaled scores by head, ``(B, N, H)`` float32; one query a row is too little for a matrix product."""
        heads = self.plm.encoder.config.num_attention_heads
        key = pairs.chunk(2, dim=2)[0]
        scale = layout.scale(self.plm.first_layer)
        scale = (key.shape[2] // heads) ** -0.5 if scale is None else scale
        return (key * (query * scale)).unflatten(2, (heads, -1)).sum(3, dtype=torch.float32)

    @staticmethod
    def _weighted(weights: Tensor, pairs: Tensor) -> Tensor:
        """Values weighted by head, ``(B, N, H)``: ``(B, W)``."""
        value = pairs.chunk(2, dim=2)[1].unflatten(2, (weights.shape[2], -1))
        return (value * weights.to(value.dtype).unsqueeze(3)).sum(1).flatten(1)

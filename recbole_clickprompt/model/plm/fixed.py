"""A single joint layer whose weights do not change: what it makes of every text alone is made once."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_clickprompt.data.states import StateTable
from recbole_clickprompt.data.tokens import Batch
from recbole_clickprompt.model.plm.encoder import PromptedEncoder
from recbole_clickprompt.model.plm.layouts import LAYOUTS, Layout
from recbole_clickprompt.model.prompt import PromptGenerator

__all__ = ["FixedLayer"]

_STATES_AT_ONCE = 1 << 14
_TEXTS_AT_ONCE = 256
_MOST_BYTES = 2 << 30


@dataclass(frozen=True)
class _Front:
    """What the first token of a row, which summarises it, makes of the row's first text: of each id U of it.

    Attributes:
        states: What enters the layer there, ``(U, W)`` float32.
        query: Its scaled query, ``(U, W)``.
        score: The text's share in attention, as one score: the logarithm of its exponentials' sum, ``(U, H)``.
        value: What attention to that text alone gives, ``(U, W)``.
    """

    states: Tensor
    query: Tensor
    score: Tensor
    value: Tensor


class FixedLayer:
    """Scores many rows with one set of weights.

    The query is that of a row's first token, which belongs to the user. So attention to the user's own text is
    the same in every row of that user, and is looked up as one value with one score; keys and values of the
    other texts are looked up too. Where a layer's keys and values are affine in a prompt, the second layer of
    the prompt's MLP and the projections are one matrix. What is left for each row is q's way through the
    prompts, attention of one query to them and to the item's text, and what follows it.

    Args:
        plm: Its last layer is the only one that sees whole rows.
        prompt: Makes its prompts of q; anything else gives prompts or None.
        table: States of the texts.
    """

    def __init__(self, plm: PromptedEncoder, prompt: nn.Module, table: StateTable) -> None:
        self.plm, self.prompt, self.table = plm, prompt, table
        self.index, self.heads = plm.first_layer, plm.encoder.config.num_attention_heads
        self.dtype = _precision(table)
        # Autocast would convert float32 matrices anew in every batch
        self.layout = self._layout(_cast_upper(plm, self.dtype))
        ends = table.get_buffer("offsets_0")
        # Which of a state's numbers are which head's, (H, W)
        own = torch.eye(self.heads, dtype=self.dtype, device=ends.device)
        self.own = own.repeat_interleave(plm.hidden_size // self.heads, 1)
        self.front = self._read_front(ends)
        self.behind = int(ends[-1])  # where the states of the other keys begin
        pairs = [self._pair(states.float()) for states in table.states[self.behind :].split(_STATES_AT_ONCE)]
        self.keys, self.values = map(torch.cat, zip(*pairs, strict=True))  # (N, W)
        self.folded: tuple[nn.Linear, Tensor, Tensor] | None = None
        if self.layout.key_value_layers(self.index) and isinstance(prompt, PromptGenerator):
            hidden = copy.deepcopy(prompt.hidden).to(self.dtype)
            weight, bias = (part.to(self.dtype) for part in self._fold(prompt))
            self.folded = (hidden, weight, bias)

    @staticmethod
    def serves(plm: PromptedEncoder, table: StateTable) -> bool:
        """There is one such layer, scores do not depend on places, and all keys and values fit into memory."""
        layout = LAYOUTS[plm.encoder.config.model_type]
        size = 2 * table.states.numel() * 4
        return plm.prompt_layers == 1 and not (plm.causal or layout.scores_have_places) and size <= _MOST_BYTES

    def fits(self) -> bool:
        """Scores are still asked for in the precision that they were prepared for."""
        return self.dtype is _precision(self.table)

    def __call__(self, batch: Batch, q: Tensor) -> Tensor:
        """What ``SummaryPooling`` gives for these rows, ``(B, W)``; q is ``(B, Q)``."""
        first = batch[self.table.keys[0]]
        queries = self._of_heads(self.front.query[first])
        places, lengths = self.table.places(batch, skip=1)
        places = (places - self.behind).clamp(min=0)  # of padding it is any
        keys, values = (
            of.index_select(0, places.flatten()).unflatten(0, places.shape) for of in (self.keys, self.values)
        )
        seen = torch.arange(places.shape[1], device=lengths.device) < lengths.unsqueeze(1)
        scores = [self.front.score[first].unsqueeze(2), self._scores(queries, keys, seen)]
        prompts = self._of_prompts(q)
        if prompts is not None:
            scores.append(self._scores(queries, prompts[0], None))
        weights = torch.cat(scores, dim=2).softmax(2).to(values.dtype)  # (B, H, 1 + Z + K)
        front, text, of_prompts = weights.tensor_split([1, 1 + places.shape[1]], dim=2)
        weighted = torch.bmm(text, values)  # (B, H, W)
        if prompts is not None:
            weighted = weighted.baddbmm_(of_prompts, prompts[1])
        of_front = self.front.value[first].unflatten(1, (self.heads, -1)) * front
        attended = of_front.flatten(1) + self._own_parts(weighted)
        combined = self.layout.combine(self.index, attended.unsqueeze(1), self.front.states[first].unsqueeze(1))
        return self.layout.finish(combined)[:, 0]

    def _layout(self, encoder: nn.Module) -> Layout:
        return LAYOUTS[self.plm.encoder.config.model_type](encoder)

    def _pair(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of states ``(N, W)``, each ``(N, W)``."""
        key, value = self.layout.keys_values(self.index, states.unsqueeze(0), None)
        return key[0], value[0]

    def _read_front(self, ends: Tensor) -> _Front:
        parts = [
            self._attend_front(ends, ids)
            for ids in torch.arange(len(ends) - 1, device=ends.device).split(_TEXTS_AT_ONCE)
        ]
        return _Front(*map(torch.cat, zip(*parts, strict=True)))

    def _attend_front(self, ends: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The tensors of ``_Front`` for some ids."""
        lengths = (ends[ids + 1] - ends[ids]).clamp(max=self.table.max_length)
        column = torch.arange(int(lengths.max()), device=ends.device)
        places = (ends[ids].unsqueeze(1) + column).clamp(max=int(ends[-1]) - 1)
        states = self.table.gather(places).float()
        scale = self.layout.scale(self.index)
        query = self.layout.queries(self.index, states[:, :1], None)
        query = query * ((query.shape[2] // self.heads) ** -0.5 if scale is None else scale)
        keys, values = self.layout.keys_values(self.index, states, None)
        scores = self._scores(self._of_heads(query[:, 0]), keys, column < lengths.unsqueeze(1))
        value = self._own_parts(torch.bmm(scores.softmax(2).to(values.dtype), values))
        return states[:, 0], query[:, 0], scores.logsumexp(2), value

    def _fold(self, prompt: PromptGenerator) -> tuple[Tensor, Tensor]:
        """``(K, W, 2 W)`` and ``(K, 1, 2 W)``: from hidden states of prompts to keys and values."""

        layout = self._layout(self.plm.encoder)  # in float32

        def pair(states: Tensor) -> Tensor:
            return torch.cat(layout.keys_values(self.index, states, None), dim=2)

        with torch.autocast(prompt.weight.device.type, enabled=False):
            return pair(prompt.weight) - pair(torch.zeros_like(prompt.bias)), pair(prompt.bias)

    def _of_prompts(self, q: Tensor) -> tuple[Tensor, ...] | None:
        """Keys and values of the prompts, each ``(B, K, W)``."""
        if self.folded is not None:
            hidden, weight, bias = self.folded
            count, width, _ = weight.shape
            states = torch.tanh(hidden(q)).view(-1, count, width).transpose(0, 1)
            return torch.baddbmm(bias, states, weight).transpose(0, 1).chunk(2, dim=2)
        prompts = self.prompt(q)
        return None if prompts is None else self.plm.prompt_keys_values(self.layout, self.index, prompts[-1])

    def _of_heads(self, query: Tensor) -> Tensor:
        """Queries ``(B, W)`` of each head alone, with zeros at the others' numbers, ``(B, H, W)``.

        One query a row is little for matrix products of each head; so all heads are one.
        """
        return query.to(self.dtype).unsqueeze(1) * self.own

    def _scores(self, queries: Tensor, keys: Tensor, seen: Tensor | None) -> Tensor:
        """Scores by head, ``(B, H, N)`` float32, of queries ``(B, H, W)`` and keys ``(B, N, W)``."""
        scores = torch.bmm(queries, keys.transpose(1, 2)).float()
        return scores if seen is None else scores.masked_fill_(~seen.unsqueeze(1), -torch.inf)

    def _own_parts(self, weighted: Tensor) -> Tensor:
        """Of what each head made of all numbers, ``(B, H, W)``, its own ones, ``(B, W)``."""
        return weighted.unflatten(2, (self.heads, -1)).diagonal(dim1=1, dim2=2).transpose(1, 2).flatten(1)


def _precision(table: StateTable) -> torch.dtype:
    """What matrix products are computed in."""
    device = table.states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


def _cast_upper(plm: PromptedEncoder, dtype: torch.dtype) -> nn.Module:
    """The encoder with copies of its upper layers whose matrices have ``dtype``, and its own lower ones."""
    upper = LAYOUTS[plm.encoder.config.model_type](plm.encoder).upper(plm.first_layer)
    copied = {id(parameter) for module in upper for parameter in module.parameters()}
    shared = {id(parameter): parameter for parameter in plm.encoder.parameters() if id(parameter) not in copied}
    encoder = copy.deepcopy(plm.encoder, shared)
    for module in LAYOUTS[plm.encoder.config.model_type](encoder).upper(plm.first_layer):
        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.to(dtype)
    return encoder

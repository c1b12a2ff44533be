"""One layer of a PLM whose text also attends to prompts (ClickPrompt, Eq. 7). Letters: see ``plm/__init__.py``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.plm.architectures import ArchitectureAdapter
from recbole_clickprompt.plm.attention import attend, single_query_attention

__all__ = ["LayerInputs", "PromptedLayer", "SharedPromptedLayer", "gather_positions"]


class LayerInputs(NamedTuple):
    """Inputs of a layer. A tuple, so that ``torch.utils.checkpoint`` finds the tensors and their device.

    Attributes:
        states: States of the text, ``(B, Z, W)``.
        seen: False at padding, ``(B, Z)``.
        positions: Text positions whose outputs are needed, ``(B, P)``; None computes all of them.
        prompts: Prompts of this layer, ``(B, K, W)``; None runs the plain layer.
        prompt_mask: True where a row attends to its prompts, ``(B, K)``; None is everywhere.
    """

    states: Tensor
    seen: Tensor
    positions: Tensor | None = None
    prompts: Tensor | None = None
    prompt_mask: Tensor | None = None


class PromptedLayer:
    """Runs one layer with prompts as additional keys and values, placed before those of the text.

    The tensors of one row, in which ``bias`` exists only where scores have a term for positions (DeBERTa, T5)::

                       keys, values:  | prompt 1 ... prompt K | token 1 ... token Z |
                                      +-----------------------+---------------------+
        mask, queries 1 ... P (or Z)  | prompt_mask           | adapter.mask        |
        bias, queries 1 ... P (or Z)  | 0                     | adapter.bias        |
                                      +-----------------------+---------------------+

    There are no queries of prompts, so no outputs have to be dropped.

    Args:
        architecture: Adapter of the PLM.
        index: Number of the layer, from 0.
        training: Apply dropout to attention weights.
    """

    def __init__(self, architecture: ArchitectureAdapter, index: int, *, training: bool) -> None:
        self.adapter = architecture.layer(index)
        self.heads: int = architecture.model.config.num_attention_heads
        self.position_dependent_scores = architecture.position_dependent_scores
        self.dropout = self.adapter.attention_dropout if training else 0.0

    def __call__(self, inputs: LayerInputs) -> Tensor:
        """Outputs of the layer at ``inputs.positions``, ``(B, P, W)``, or at all positions, ``(B, Z, W)``."""
        states, adapter = inputs.states, self.adapter
        all_positions = torch.arange(states.shape[1], device=states.device).unsqueeze(0)  # (1, Z)
        if inputs.positions is None:
            residual, positions = states, all_positions
        else:
            residual, positions = gather_positions(states, inputs.positions), inputs.positions
        query = adapter.queries(residual, positions)  # (B, P, W)
        mask = self._mask(inputs, positions)  # (B, 1, P or 1, K + Z)
        single = inputs.positions is not None and positions.shape[1] == 1
        projections = self.linear_projections() if single else None
        if projections is not None:
            key, value = projections
            attended = single_query_attention(
                query,
                [states] if inputs.prompts is None else [inputs.prompts, states],
                key=key,
                value=value,
                heads=self.heads,
                mask=mask,
                dropout=self.dropout,
                scale=adapter.scale,
            )
            return adapter.combine(attended, residual)
        keys, values = adapter.keys_values(states, all_positions)  # (B, Z, W)
        bias = adapter.bias(query, keys, positions)  # (B, H, P, Z)
        if inputs.prompts is not None:
            prompt_keys, prompt_values = self.prompt_keys_values(inputs.prompts)
            keys, values = torch.cat([prompt_keys, keys], dim=1), torch.cat([prompt_values, values], dim=1)
            bias = None if bias is None else F.pad(bias, (prompt_keys.shape[1], 0))
        return adapter.combine(self.attend(query, keys, values, mask=mask, bias=bias), residual)

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor, bias: Tensor | None) -> Tensor:
        """``attention.attend`` with the heads, dropout and scale of this layer."""
        return attend(
            query,
            keys,
            values,
            heads=self.heads,
            mask=mask,
            bias=bias,
            dropout=self.dropout,
            scale=self.adapter.scale,
        )

    def prompt_keys_values(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of prompts ``(B, K, W)``, each ``(B, K, key_value_size)``."""
        return self.adapter.keys_values(prompts, None)

    def linear_projections(self) -> tuple[nn.Linear, nn.Linear] | None:
        """The layer's key and value projections if ``single_query_attention`` can use them, otherwise None."""
        projections = None if self.position_dependent_scores else self.adapter.key_value_projections()
        if projections is None:
            return None
        key, value = projections
        if type(key) is nn.Linear and type(value) is nn.Linear:  # not wrapped, for example by LoRA
            return key, value
        return None

    def _mask(self, inputs: LayerInputs, positions: Tensor) -> Tensor:
        """True where a query attends, ``(B, 1, P or 1, K + Z)``; without prompts ``(B, 1, P or 1, Z)``."""
        mask = self.adapter.mask(inputs.seen, positions)  # (B, P or 1, Z)
        if inputs.prompts is not None:
            shown = inputs.prompt_mask
            if shown is None:
                shown = torch.ones(inputs.prompts.shape[:2], dtype=torch.bool, device=mask.device)
            mask = torch.cat([shown.unsqueeze(1).expand(-1, mask.shape[1], -1), mask], dim=2)
        return mask.unsqueeze(1)


class SharedPromptedLayer(PromptedLayer):
    """A layer whose prompts already are keys and values, ``(B, K, 2 * key_value_size)``: keys, then values."""

    def linear_projections(self) -> None:
        """None: ``single_query_attention`` would project the prompts."""

    def prompt_keys_values(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """The two halves of prompts ``(B, K, 2 * key_value_size)``."""
        keys, values = prompts.chunk(2, dim=2)
        return keys, values


def gather_positions(states: Tensor, positions: Tensor) -> Tensor:
    """States of each row, ``(B, Z, W)``, at its positions, ``(B, P)``: ``(B, P, W)``."""
    return states.gather(1, positions.unsqueeze(2).expand(-1, -1, states.shape[2]))

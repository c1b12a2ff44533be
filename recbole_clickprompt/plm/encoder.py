"""How prompts enter a transformers model (ClickPrompt, Eq. 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from recbole_clickprompt.plm.architectures import ArchitectureAdapter, LayerAdapter, build_adapter
from recbole_clickprompt.plm.attention import attend, single_query_attention

__all__ = ["LayerInputs", "PromptedEncoder", "SharedPromptedEncoder", "gather_positions"]


class LayerInputs(NamedTuple):
    """What a layer is run on. A tuple, in which ``torch.utils.checkpoint`` finds the tensors and their device.

    Attributes:
        states: Of the text, ``(B, Z, W)``.
        seen: False at padding, ``(B, Z)``.
        positions: Text positions whose outputs are wanted, ``(B, P)``; None is all of them.
        prompts: Of this layer, ``(B, K, W)``; None runs the plain layer.
        prompt_mask: True where a row's prompts are attended to, ``(B, K)``; None is everywhere.
    """

    states: Tensor
    seen: Tensor
    positions: Tensor | None = None
    prompts: Tensor | None = None
    prompt_mask: Tensor | None = None


class PromptedEncoder(nn.Module):
    """A PLM in which the text of every layer also attends to that layer's prompts.

    Eq. 7 puts K prompts before the states of each layer and drops their outputs. As those outputs are never read,
    prompts are needed as keys and values only, which the layer's own projections make of them. Text keeps its
    positions. The last layer computes the wanted positions only; with one per row, it computes no keys and values
    of the others either.

    Rows are padded to the longest of the batch. Callers sort rows by length before they cut a batch into parts,
    so there is little padding: packing 256 rows of ml-100k, cut into parts of 64, more tightly would save 4 % of
    the states.

    Args:
        encoder: transformers' base model, of a type in ``ARCHITECTURES``; its weights stay where they are.
        gradient_checkpointing: Compute each layer again in the backward pass instead of storing its activations.
        num_frozen_layers: So many lower layers are frozen and read each text of a row separately, without prompts
            (``encode_lower``). ``forward`` then takes their outputs, and runs the layers after them.
    """

    def __init__(self, encoder: Any, *, gradient_checkpointing: bool = False, num_frozen_layers: int = 0) -> None:
        super().__init__()
        self.encoder, self.gradient_checkpointing = encoder, gradient_checkpointing
        self.num_frozen_layers = num_frozen_layers
        if num_frozen_layers:
            trained = {id(p) for p in self.architecture.parameters_from_layer(num_frozen_layers)}
            for parameter in encoder.parameters():
                if id(parameter) not in trained:
                    parameter.requires_grad_(False)

    @property
    def architecture(self) -> ArchitectureAdapter:
        """Built on every access: it holds the PLM, and a copy of this module has its own."""
        return build_adapter(self.encoder)

    @property
    def num_layers(self) -> int:
        """Layers of the PLM."""
        return self.encoder.config.num_hidden_layers

    @property
    def prompt_layers(self) -> int:
        """L, layers that prompts enter."""
        return self.num_layers - self.num_frozen_layers

    @property
    def hidden_size(self) -> int:
        """W."""
        return self.encoder.config.hidden_size

    @property
    def causal(self) -> bool:
        """Text only attends to what comes before it."""
        return self.architecture.causal

    def forward(
        self,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None = None,
        *,
        prompt_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            text: Tokens, ``(B, Z)``; with frozen layers their outputs, ``(B, Z, W)``.
            lengths: Tokens of each row, ``(B,)``; the rest of a row is padding.
            prompts: ``(L, B, K, W)``; None runs the plain PLM.
            prompt_mask: True where a row's prompts are attended to, ``(B, K)``; None is everywhere.
            positions: Text positions whose last states are wanted, ``(B, P)``; None is all of them.

        Returns:
            States after the last layer, ``(B, P, W)``, or ``(B, Z, W)``.
        """
        states = self._run(text, lengths, prompts, prompt_mask=prompt_mask, positions=positions)
        return deque(states, maxlen=1).pop()

    def states(
        self,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None = None,
        *,
        prompt_mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> list[Tensor]:
        """Arguments as for ``forward``; returns the states before the first layer and after each one."""
        return list(self._run(text, lengths, prompts, prompt_mask=prompt_mask, positions=positions))

    @torch.no_grad()
    def encode_lower(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Outputs of the frozen layers.

        Args:
            input_ids: Tokens of texts that are read separately, ``(B, Z)``.
            lengths: Tokens of each text, ``(B,)``.

        Returns:
            ``(B, Z, W)``, any finite values at padding.
        """
        states, seen = self._embed(input_ids), _seen(lengths, input_ids.shape[1])
        for index in range(self.num_frozen_layers):
            states = self._layer(self.architecture.layer(index), LayerInputs(states, seen))
        return states

    def prompt_keys_values(self, layer: LayerAdapter, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values that a layer makes of its prompts, ``(B, K, W)``; both have that shape."""
        return layer.keys_values(prompts, None)

    def _run(
        self,
        text: Tensor,
        lengths: Tensor,
        prompts: Tensor | None,
        *,
        prompt_mask: Tensor | None,
        positions: Tensor | None,
    ) -> Iterator[Tensor]:
        """The states before the first layer and after each one; after the last one at ``positions`` only."""
        architecture, seen = self.architecture, _seen(lengths, text.shape[1])
        states = _to_matmul_precision(text) if self.num_frozen_layers else self._embed(text)
        for index in range(self.num_frozen_layers, self.num_layers):
            yield states
            inputs = LayerInputs(
                states,
                seen,
                positions=positions if index == self.num_layers - 1 else None,
                prompts=None if prompts is None else prompts[index - self.num_frozen_layers].to(states.dtype),
                prompt_mask=prompt_mask,
            )
            layer = architecture.layer(index)
            if self.gradient_checkpointing and self.training:
                states = checkpoint(self._layer, layer, inputs, use_reentrant=False)
            else:
                states = self._layer(layer, inputs)
        yield architecture.final_norm(states)

    def _embed(self, input_ids: Tensor) -> Tensor:
        return _to_matmul_precision(self.architecture.embed(input_ids))

    def _layer(self, layer: LayerAdapter, inputs: LayerInputs) -> Tensor:
        """Outputs of a layer at the wanted positions, ``(B, P, W)``, or at all, ``(B, Z, W)``."""
        states, positions = inputs.states, inputs.positions
        all_positions = torch.arange(states.shape[1], device=states.device).unsqueeze(0)  # (1, Z)
        if positions is None:
            residual, positions = states, all_positions
        else:
            residual = gather_positions(states, positions)
        query = layer.queries(residual, positions)
        mask = _mask(layer, inputs, positions)
        single = inputs.positions is not None and positions.shape[1] == 1
        projections = self._linear_projections(layer) if single else None
        if projections is not None:
            key, value = projections
            attended = single_query_attention(
                query,
                [states] if inputs.prompts is None else [inputs.prompts, states],
                key=key,
                value=value,
                heads=self.encoder.config.num_attention_heads,
                mask=mask,
                dropout=layer.attention_dropout if self.training else 0.0,
                scale=layer.scale,
            )
            return layer.combine(attended, residual)
        keys, values = layer.keys_values(states, all_positions)
        bias = layer.bias(query, keys, positions)
        if inputs.prompts is not None:
            prompt_keys, prompt_values = self.prompt_keys_values(layer, inputs.prompts)
            keys, values = torch.cat([prompt_keys, keys], dim=1), torch.cat([prompt_values, values], dim=1)
            bias = None if bias is None else F.pad(bias, (prompt_keys.shape[1], 0))
        return layer.combine(self._attend(layer, query, keys, values, mask=mask, bias=bias), residual)

    def _attend(
        self,
        layer: LayerAdapter,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        mask: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        return attend(
            query,
            keys,
            values,
            heads=self.encoder.config.num_attention_heads,
            mask=mask,
            bias=bias,
            dropout=layer.attention_dropout if self.training else 0.0,
            scale=layer.scale,
        )

    def _linear_projections(self, layer: LayerAdapter) -> tuple[nn.Linear, nn.Linear] | None:
        """A layer's key and value projections where ``single_query_attention`` can take them, else None."""
        projections = None if self.architecture.position_dependent_scores else layer.key_value_projections()
        if projections is None:
            return None
        key, value = projections
        if type(key) is nn.Linear and type(value) is nn.Linear:  # and not wrapped, for example by LoRA
            return key, value
        return None


class SharedPromptedEncoder(PromptedEncoder):
    """Prompts that are keys and values already, ``(L, B, K, 2 W)``: the form of the authors' public code."""

    def _linear_projections(self, layer: LayerAdapter) -> None:
        return None

    def prompt_keys_values(self, layer: LayerAdapter, prompts: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = prompts.chunk(2, dim=2)
        return keys, values


def gather_positions(states: Tensor, positions: Tensor) -> Tensor:
    """The states of each row, ``(B, Z, W)``, at its positions, ``(B, P)``: ``(B, P, W)``."""
    return states.gather(1, positions.unsqueeze(2).expand(-1, -1, states.shape[2]))


def _seen(lengths: Tensor, width: int) -> Tensor:
    """False at padding, ``(B, Z)``."""
    return torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)


def _mask(layer: LayerAdapter, inputs: LayerInputs, positions: Tensor) -> Tensor:
    """True where positions attend, ``(B, 1, P or 1, Z)``, or with prompts ``(B, 1, P or 1, K + Z)``."""
    mask = layer.mask(inputs.seen, positions)
    if inputs.prompts is not None:
        shown = inputs.prompt_mask
        if shown is None:
            shown = torch.ones(inputs.prompts.shape[:2], dtype=torch.bool, device=mask.device)
        mask = torch.cat([shown.unsqueeze(1).expand(-1, mask.shape[1], -1), mask], dim=2)
    return mask.unsqueeze(1)


def _to_matmul_precision(states: Tensor) -> Tensor:
    """In the precision of matrix products: otherwise each of them would round the same states again."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32)

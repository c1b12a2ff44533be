"""A PLM whose layers read prompts (ClickPrompt, Eq. 7). Letters: see ``plm/__init__.py``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recbole_clickprompt.plm.architectures import ArchitectureAdapter, build_adapter
from recbole_clickprompt.plm.prompted_layer import LayerInputs, PromptedLayer, SharedPromptedLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PromptedEncoder", "SharedPromptedEncoder"]


class PromptedEncoder(nn.Module):
    """A PLM in which the text of every layer also attends to that layer's prompts.

    Eq. 7 concatenates K prompts and the states of each layer and drops the outputs at the prompt positions. As
    these outputs are never read, prompts are needed as keys and values only, computed by the layer's own
    projections. Text keeps its positions. The last layer computes only the positions that are needed; if that is
    one per row, it computes no keys and values either. With L = 2 and no frozen layers::

        tokens (B, Z) -> embeddings -> layer 0 ----------> layer 1 ----------> final norm -> (B, P or Z, W)
                                          ^                   ^
                          prompts[0] (B, K, W)    prompts[1] (B, K, W)

    With frozen lower layers, ``encode_lower`` runs them without prompts on the text of each user, item or value,
    and ``forward`` starts from their outputs::

        tokens of one text -> embeddings -> frozen layers -> states      once, kept in a file (cached_states.py)
        states of the texts of a row (B, Z, W) -> interaction layers with prompts     for every row

    Rows are padded to the longest one of the batch. Callers sort rows by length before they split a batch, so
    there is little padding: packing 256 rows of ml-100k, split into parts of 64, would save 4 % of the states.

    Args:
        encoder: transformers' base model, of a type in ``ARCHITECTURES``; its weights are not copied.
        gradient_checkpointing: Recompute each layer in the backward pass instead of storing its activations.
        num_frozen_layers: Number of lower layers that are frozen and read each text of a row separately. L, the
            number of layers that prompts enter, is the rest.
    """

    prompted_layer_class = PromptedLayer

    def __init__(
        self, encoder: PreTrainedModel, *, gradient_checkpointing: bool = False, num_frozen_layers: int = 0
    ) -> None:
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
        """Adapter of the PLM, built on every access so that copies of this module refer to their own PLM."""
        return build_adapter(self.encoder)

    @property
    def num_layers(self) -> int:
        """Layers of the PLM, frozen ones included."""
        return self.encoder.config.num_hidden_layers

    @property
    def prompt_layers(self) -> int:
        """L, the number of layers that prompts enter."""
        return self.num_layers - self.num_frozen_layers

    @property
    def hidden_size(self) -> int:
        """W, the width of the PLM's states."""
        return self.encoder.config.hidden_size

    @property
    def key_value_size(self) -> int:
        """Width of a layer's keys, and of its values."""
        return self.architecture.key_value_size

    @property
    def causal(self) -> bool:
        """True if a token attends only to itself and to earlier ones."""
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
            prompts: Prompts of each layer, ``(L, B, K, W)``; None runs the plain PLM.
            prompt_mask: True where a row attends to its prompts, ``(B, K)``; None is everywhere.
            positions: Text positions whose last states are needed, ``(B, P)``; None computes all of them.

        Returns:
            States after the last layer, ``(B, P, W)``, or ``(B, Z, W)``; at padding they have no meaning.
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
        """The states before the first layer and after each one, for poolings over several layers.

        Args:
            text: As for ``forward``, like the other arguments.
            lengths: As for ``forward``.
            prompts: As for ``forward``.
            prompt_mask: As for ``forward``.
            positions: As for ``forward``; the states before the last layer are computed at all positions.

        Returns:
            L + 1 tensors ``(B, Z, W)``; the last one is what ``forward`` returns.
        """
        return list(self._run(text, lengths, prompts, prompt_mask=prompt_mask, positions=positions))

    @torch.no_grad()
    def encode_lower(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Outputs of the frozen layers.

        Args:
            input_ids: Tokens of texts that are read separately, ``(B, Z)``.
            lengths: Tokens of each text, ``(B,)``.

        Returns:
            ``(B, Z, W)``; finite, but without meaning, at padding.
        """
        states, seen = self._embed(input_ids), _seen(lengths, input_ids.shape[1])
        for index in range(self.num_frozen_layers):
            states = self.layer(index)(LayerInputs(states, seen))
        return states

    def layer(self, index: int) -> PromptedLayer:
        """The layer ``index`` of the PLM, from 0, in the mode (training or evaluation) of this module."""
        return self.prompted_layer_class(self.architecture, index, training=self.training)

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
        seen = _seen(lengths, text.shape[1])
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
            layer = self.layer(index)
            if self.gradient_checkpointing and self.training:
                states = checkpoint(layer, inputs, use_reentrant=False)
            else:
                states = layer(inputs)
        yield self.architecture.final_norm(states)

    def _embed(self, input_ids: Tensor) -> Tensor:
        return _to_matmul_precision(self.architecture.embed(input_ids))


class SharedPromptedEncoder(PromptedEncoder):
    """An encoder whose prompts already are keys and values, as in the authors' public code.

    Prompts are ``(L, B, K, 2 * key_value_size)``: keys, then values. ``key_value_size`` is W in most families.
    """

    prompted_layer_class = SharedPromptedLayer


def _seen(lengths: Tensor, width: int) -> Tensor:
    """False at padding, ``(B, width)``, for rows with ``lengths``, ``(B,)``."""
    return torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)


def _to_matmul_precision(states: Tensor) -> Tensor:
    """States in the precision of matrix products; otherwise every product would round the same states again."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32)

"""Prompt generation (ClickPrompt, Eq. 6). Letters: see ``plm/__init__.py``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["PromptGenerator", "SharedPromptGenerator"]


class PromptGenerator(nn.Module):
    """L * K separate MLPs ``Linear(Q, W)-Tanh-Linear(W, W)``, one per prompt, as two matrix products::

        q (B, Q) -> hidden: one product, tanh -> (B, L*K*W) -> (L*K, B, W)
                 -> weight, bias: one batched product -> (L*K, B, W) -> (L, B, K, W)

    All MLPs read the same q, so their first layers are a single product. The MLP of prompt k of layer l has the
    index ``l * K + k``.

    Args:
        input_size: Q, width of the backbone's representation.
        num_layers: L, PLM layers that prompts enter.
        num_prompts: K, prompts per layer.
        hidden_size: W, width of the PLM.
    """

    def __init__(self, *, input_size: int, num_layers: int, num_prompts: int, hidden_size: int) -> None:
        super().__init__()
        count = num_layers * num_prompts
        self.shape = (num_layers, num_prompts, hidden_size)
        self.hidden = nn.Linear(input_size, count * hidden_size)
        self.weight = nn.Parameter(torch.empty(count, hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(count, 1, hidden_size))
        bound = 1 / math.sqrt(hidden_size)  # the initialization of a separate nn.Linear
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, q: Tensor) -> Tensor:
        """
        Args:
            q: Backbone representation, ``(B, Q)``.

        Returns:
            Prompts of every layer, ``(L, B, K, W)``.
        """
        layers, prompts, width = self.shape
        out = torch.baddbmm(self.bias, self.hidden_states(q), self.weight)  # (L*K, B, W)
        return out.view(layers, prompts, q.shape[0], width).transpose(1, 2)

    def hidden_states(self, q: Tensor) -> Tensor:
        """Hidden states of all MLPs, ``(L*K, B, W)``, of q, ``(B, Q)``."""
        return torch.tanh(self.hidden(q)).view(q.shape[0], -1, self.shape[2]).transpose(0, 1)


class SharedPromptGenerator(nn.Module):
    """One MLP ``Linear(Q, W)-Tanh-Linear(W, L * K * 2 * key_value_size)`` for keys and values of all prompts.

    This is the form of the authors' public code (after P-tuning v2, Liu et al., ACL 2022).

    Args:
        input_size: As for ``PromptGenerator``, like the other arguments.
        num_layers: L.
        num_prompts: K.
        hidden_size: W.
        key_value_size: Width of a layer's keys, and of its values; W in most families.
    """

    def __init__(
        self, *, input_size: int, num_layers: int, num_prompts: int, hidden_size: int, key_value_size: int
    ) -> None:
        super().__init__()
        self.shape = (num_layers, num_prompts, 2 * key_value_size)
        self.projection = nn.Sequential(
            nn.Linear(input_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, math.prod(self.shape))
        )

    def forward(self, q: Tensor) -> Tensor:
        """
        Args:
            q: Backbone representation, ``(B, Q)``.

        Returns:
            Keys, then values, of the prompts of every layer, ``(L, B, K, 2 * key_value_size)``.
        """
        return self.projection(q).view(q.shape[0], *self.shape).transpose(0, 1)

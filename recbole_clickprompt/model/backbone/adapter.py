"""Any context-aware model of RecBole as a backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from recbole.utils import get_model
from torch import Tensor, nn

from recbole_clickprompt.model.backbone.dcnv2 import DCNV2
from recbole_clickprompt.model.backbone.dnn import DNN

__all__ = ["Backbone", "build_backbone"]


class Tap(NamedTuple):
    """What enters the module ``module`` of a host model, made two-dimensional by ``reduce``."""

    module: str
    reduce: Callable[[Tensor], Tensor] = torch.nn.Flatten()


def _bi_interaction(embeddings: Tensor) -> Tensor:
    # (B, F, d) -> (B, d): the sum over pairs of fields, whose own sum is what FM adds to the logit
    return 0.5 * (embeddings.sum(1).square() - embeddings.square().sum(1))


# q is what enters the last prediction layer; where a model adds up several, their inputs are concatenated
_TAPS: dict[str, tuple[Tap, ...]] = {
    "AutoInt": (Tap("attn_fc"), Tap("deep_predict_layer")),
    "DCNV2": (Tap("predict_layer"),),
    "DNN": (Tap("predict_layer"),),
    "DeepFM": (Tap("deep_predict_layer"), Tap("fm", _bi_interaction)),
}

_OURS: dict[str, type[nn.Module]] = {"DCNV2": DCNV2, "DNN": DNN}


class Backbone(nn.Module):
    """A RecBole model that also shows the representation its prediction is made of.

    It computes in float32 also under autocast: logits of 8 bits would tie scores that differ.

    Args:
        model: A context-aware model whose ``forward`` gives logits.
        taps: Where its representation is read.
    """

    def __init__(self, *, model: nn.Module, taps: tuple[Tap, ...]) -> None:
        super().__init__()
        self.model, self.taps = model, taps

    def logit(self, interaction: Interaction) -> Tensor:
        """``(B,)``: the host model alone, nothing else computed."""
        with _float32(interaction):
            return self.model(interaction)

    def forward(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """
        Returns:
            The representation q before the last prediction layer, ``(B, Q)`` (Eq. 5), and the logit, ``(B,)``.
        """
        with _float32(interaction), self._tapped() as seen:
            logit = self.model(interaction)
        return torch.cat([seen[tap.module] for tap in self.taps], dim=1), logit

    @contextmanager
    def _tapped(self) -> Iterator[dict[str, Tensor]]:
        # Hooks live for one call: a lasting hook would keep the graph alive and slow plain prediction down
        seen: dict[str, Tensor] = {}

        def reader(tap: Tap) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                seen[tap.module] = tap.reduce(inputs[0])

            return read

        handles = [
            self.model.get_submodule(tap.module).register_forward_pre_hook(reader(tap)) for tap in self.taps
        ]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def width(self, interaction: Interaction) -> int:
        """Q, from a dry run on some rows; changes nothing."""
        training = self.training
        try:
            return self.eval()(interaction)[0].shape[1]
        finally:
            self.train(training)


def _float32(interaction: Interaction) -> torch.autocast:
    device = next(iter(interaction.interaction.values())).device
    return torch.autocast(device.type, enabled=False)


def build_backbone(config: Any, dataset: Any) -> Backbone:
    """The backbone that ``config["backbone"]`` names, freshly initialised."""
    name = config["backbone"]
    model: type[nn.Module] = _OURS[name] if name in _OURS else get_model(name)
    return Backbone(model=model(config, dataset), taps=_TAPS[name])

"""A context-aware RecBole model as a backbone. Letters: see ``plm/__init__.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import get_model
from torch import Tensor, nn

from recbole_clickprompt.backbones.afm import AFM
from recbole_clickprompt.backbones.dcn import DCN
from recbole_clickprompt.backbones.dcnv2 import DCNV2
from recbole_clickprompt.backbones.din import DIN
from recbole_clickprompt.backbones.dnn import DNN
from recbole_clickprompt.backbones.dssm import DSSM
from recbole_clickprompt.backbones.ffm import FFM
from recbole_clickprompt.backbones.fgcnn import FGCNN
from recbole_clickprompt.backbones.fibinet import FiBiNET
from recbole_clickprompt.backbones.fignn import FiGNN
from recbole_clickprompt.backbones.finalmlp import FinalMLP
from recbole_clickprompt.backbones.fwfm import FwFM
from recbole_clickprompt.backbones.gdcn import GDCN
from recbole_clickprompt.backbones.history import HistoryPooling
from recbole_clickprompt.backbones.kd_dagfm import KD_DAGFM
from recbole_clickprompt.backbones.masknet import MaskNet
from recbole_clickprompt.backbones.nfm import NFM
from recbole_clickprompt.backbones.representation_hooks import HOOKS, RepresentationHook
from recbole_clickprompt.backbones.vector_fields import VectorSource, with_vector_fields
from recbole_clickprompt.backbones.wukong import WuKong
from recbole_clickprompt.backbones.xdeepfm import xDeepFM
from recbole_clickprompt.embeddings.initial_values import recorded_draws
from recbole_clickprompt.embeddings.table import replace_tables
from recbole_clickprompt.settings.values import Settings

__all__ = ["Backbone", "build_backbone", "recbole_model"]

# Models that RecBole does not have, and RecBole's models with fixes
_OURS: dict[str, type[nn.Module]] = {
    model.__name__: model
    for model in (
        AFM, DCN, DCNV2, DIN, DNN, DSSM, FFM, FGCNN, FiBiNET, FiGNN, FinalMLP, FwFM, GDCN, KD_DAGFM, MaskNet, NFM,
        WuKong, xDeepFM,
    )
}  # fmt: skip


class Backbone(nn.Module):
    """A RecBole model that also returns the representation from which it computes its prediction.

    It predicts in float32 even under autocast: bf16 has 8 bits of precision, which would make different scores
    equal. It is also trained in float32, unless ``amp`` is set.

    Args:
        model: A context-aware model whose ``forward`` returns logits, ``(B,)``.
        hooks: Where its representation is read; if there are several, q is their concatenation.
        amp: Train in the precision of autocast.
    """

    def __init__(self, *, model: nn.Module, hooks: tuple[RepresentationHook, ...], amp: bool = False) -> None:
        super().__init__()
        self.model, self.hooks, self.amp = model, hooks, amp

    def logit(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32, without reading the representation."""
        with self._precision(interaction):
            logit = self.model(interaction)
        return logit.float() if self.amp else logit

    def forward(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """
        Args:
            interaction: B rows.

        Returns:
            The representation q that enters the last prediction layer, ``(B, Q)`` (ClickPrompt, Eq. 5); and the
            logits, ``(B,)`` float32.
        """
        with self._precision(interaction), self._hooked() as seen:
            logit = self.model(interaction)
        first, *others = (part for parts in seen for part in parts)
        q = torch.cat([first, *others], dim=1) if others else first  # cat copies even a single tensor
        return q, logit.float() if self.amp else logit

    def _precision(self, interaction: Interaction) -> AbstractContextManager[Any]:
        """Disables autocast, unless the backbone is trained with ``amp``."""
        if self.amp and self.training:
            return nullcontext()
        device = next(iter(interaction.interaction.values())).device
        return torch.autocast(device.type, enabled=False)

    @contextmanager
    def _hooked(self) -> Iterator[list[list[Tensor]]]:
        """For each hook, a list of the tensors that it reads during the context."""
        # Registered for one call only: a permanent hook would keep the graph alive and slow down ``logit``
        seen: list[list[Tensor]] = [[] for _ in self.hooks]
        handles = [hook.register(self.model, parts.append) for hook, parts in zip(self.hooks, seen, strict=True)]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def width(self, interaction: Interaction) -> int:
        """Q, from a forward pass in evaluation mode.

        Args:
            interaction: One or more rows; results are discarded.
        """
        training = self.training
        try:
            return self.eval()(interaction)[0].shape[1]
        finally:
            self.train(training)


def recbole_model(name: str) -> type[nn.Module]:
    """The class behind a backbone: ours where there is one, RecBole's otherwise."""
    return _OURS[name] if name in _OURS else get_model(name)


def build_backbone(config: Settings, dataset: Dataset, sources: Sequence[VectorSource] = ()) -> Backbone:
    """The backbone of the setting ``backbone``, with random weights.

    With ``embedding_engine: torchrec`` its tables have no rows yet; see ``embeddings/table.py``.

    Args:
        config: Settings of the run, the backbone's among them.
        dataset: Data set whose fields the model embeds.
        sources: Make further fields of the model, each a vector.

    Raises:
        SettingError: A setting of the backbone contradicts the data set, or the model takes no vectors as fields.
    """
    name = config["backbone"]
    model = recbole_model(name)
    pools = config["history_pooling"] != "none"
    if pools or sources:
        model = with_vector_fields(
            model, lambda model: [*([HistoryPooling(config, dataset, model)] if pools else []), *sources]
        )
    if config["embedding_engine"] == "torch":
        built = model(config, dataset)
    else:
        with recorded_draws() as draws:
            built = model(config, dataset)
        replace_tables(built, draws)
    return Backbone(model=built, hooks=HOOKS[name], amp=config["backbone_amp"])

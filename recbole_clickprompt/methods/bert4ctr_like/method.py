"""BERT4CTRLike as a method: two steps of training, the first with a frozen language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.backbones.settings import check_history_settings
from recbole_clickprompt.methods.base import Curve, Method, check_text_fields
from recbole_clickprompt.methods.bert4ctr_like.settings import SETTINGS
from recbole_clickprompt.methods.labeled_pretraining import LabeledPretraining
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.protocols import StageModel

if TYPE_CHECKING:
    import torch
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

__all__ = ["BERT4CTRLikeMethod"]


class _FrozenPLMStage(LabeledPretraining):
    """The stage before finetuning: all weights but those of the language model are trained."""

    name = "frozen_plm"

    def build(self, config: Settings, dataset: TextSource) -> StageModel:
        """A ``WithFrozenPLM``."""
        from recbole_clickprompt.methods.bert4ctr_like.model import WithFrozenPLM

        return WithFrozenPLM(config, dataset)

    def optimizer(self, config: Settings, model: StageModel) -> torch.optim.Optimizer:
        """The optimizer of the ``pretrain_`` settings, without the weights of the language model."""
        from recbole_clickprompt.trainer.optimizer import build_optimizer

        return build_optimizer(
            model,
            learner=config["learner"],
            learning_rate=config["pretrain_learning_rate"],
            plm_learning_rate=0.0,
            weight_decay=config["pretrain_weight_decay"],
            lazy_embedding_min_rows=config["lazy_embedding_min_rows"],
        )


class BERT4CTRLikeMethod(Method):
    """A language model whose layers are read by vectors of the features, in one direction."""

    name = "BERT4CTRLike"
    stages = (_FrozenPLMStage(),)
    serves_text = True
    curves = (
        Curve(
            "frozen_plm", "frozen_plm_loss", "Frozen language model: loss", "nats",
            "Mean cross entropy of clicks while the language model is frozen.",
        ),
    )  # fmt: skip

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError if ``text_fields`` is missing, or settings of histories contradict each other."""
        check_text_fields(settings)
        check_history_settings(settings)

    def model_class(self) -> type:
        from recbole_clickprompt.methods.bert4ctr_like.model import BERT4CTRLike

        return BERT4CTRLike

    def begin_finetuning(
        self,
        config: Settings,
        model: nn.Module,
        *,
        start: Path | None,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
        all_rows: AbstractDataLoader,
    ) -> None:
        """Loads all weights of the stage, if it was trained."""
        from recbole_clickprompt.methods.bert4ctr_like.model import BERT4CTRLike
        from recbole_clickprompt.methods.initial_weights import begin_backbone
        from recbole_clickprompt.methods.labeled_stage import labeled_rows
        from recbole_clickprompt.trainer.pretrained_checkpoint import load_components

        assert isinstance(model, BERT4CTRLike)
        trained_on = [train_data._dataset]
        if start is not None:
            load_components(model, start, ("backbone", "plm", "meta", "head"))
            trained_on.append(labeled_rows(config, all_rows))
        begin_backbone(
            config,
            model.backbone.model,
            trained_on=trained_on,
            texts_of=all_rows._dataset if start is None else None,
        )

    def title(self, config: Settings) -> str:
        return f"BERT4CTRLike ({config['backbone']})"

"""The pretraining stage: PA-MLM, replaced-item detection, or both (``pretrain_objectives``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Curve
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.protocols import StageModel

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from torch import nn

__all__ = ["MLM_CURVES", "Pretraining", "pretraining_rows"]

MLM_CURVES = (
    Curve(
        "pretrain", "mlm_loss", "Pretraining: MLM loss", "nats",
        "Mean cross entropy of the masked tokens. Runs that share pretraining have the same curve.",
    ),
    Curve(
        "pretrain", "mlm_accuracy", "Pretraining: MLM accuracy", "share",
        "Share of masked tokens that were recovered. Runs that share pretraining have the same curve.",
    ),
)  # fmt: skip


class Pretraining:
    """The pretraining stage of both methods, a ``trainer.protocols.PretrainingStage``."""

    name = "pretrain"

    def label(self, config: Settings) -> str:
        """``<backbone>-pretrained``, the same for both methods, which share its checkpoints."""
        return f"{config['backbone']}-pretrained"

    def is_enabled(self, config: Settings) -> bool:
        """True unless ``pretrain_epochs`` is 0."""
        return config["pretrain_epochs"] > 0

    def reads_text(self, config: Settings) -> bool:
        """True for PA-MLM, and if embeddings are initialized from text."""
        return "mlm" in config["pretrain_objectives"] or bool(config["init_from_text"])

    def training_rows(
        self, config: Settings, train_data: AbstractDataLoader, valid_data: AbstractDataLoader | None
    ) -> Dataset:
        """See ``pretraining_rows``."""
        return pretraining_rows(config, train_data, valid_data)

    def batch_size(self, config: Settings) -> int:
        """``pretrain_batch_size``."""
        return config["pretrain_batch_size"]

    def epochs(self, config: Settings) -> int:
        """``pretrain_epochs``."""
        return config["pretrain_epochs"]

    def schedule(self, config: Settings) -> tuple[str, float]:
        """``pretrain_lr_scheduler`` and ``pretrain_warmup_ratio``."""
        return config["pretrain_lr_scheduler"], config["pretrain_warmup_ratio"]

    def build(self, config: Settings, dataset: TextSource) -> StageModel:
        """A ``PAMLM`` or ``ReplacedItem``, by ``pretrain_objectives``."""
        from recbole_clickprompt.methods.clickprompt.builders import build_pretraining

        return build_pretraining(config, dataset)

    def begin(self, config: Settings, dataset: TextSource, model: nn.Module, previous: Path | None) -> None:
        """Initializes the embeddings of the fields in ``init_from_text`` from text, if there are any."""
        from recbole_clickprompt.plm.text_init import init_embeddings_from_text

        if config["init_from_text"]:
            init_embeddings_from_text(model.get_submodule("backbone.model"), config, dataset)

    def optimizer(self, config: Settings, model: StageModel) -> torch.optim.Optimizer:
        """The optimizer of the ``pretrain_`` settings."""
        from recbole_clickprompt.trainer.optimizer import build_optimizer

        return build_optimizer(
            model,
            learner=config["learner"],
            learning_rate=config["pretrain_learning_rate"],
            plm_learning_rate=config["pretrain_plm_learning_rate"],
            weight_decay=config["pretrain_weight_decay"],
            lazy_embedding_min_rows=config["lazy_embedding_min_rows"],
        )

    def evaluate(self, config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
        """See ``evaluate_pretraining``."""
        from recbole_clickprompt.methods.clickprompt.pretraining_evaluation import evaluate_pretraining

        return evaluate_pretraining(config, model, data)

    def selection_metric(self, config: Settings, *, bigger: bool) -> str:
        """``<objective>_accuracy`` or ``<objective>_loss`` of the first objective."""
        return f"{config['pretrain_objectives'][0]}_{'accuracy' if bigger else 'loss'}"


def pretraining_rows(
    config: Settings, train_data: AbstractDataLoader, valid_data: AbstractDataLoader | None
) -> Dataset:
    """The rows of pretraining: training rows or a sample of them (``pretrain_rows``).

    With ``pretrain_data: train_valid`` all validation rows are added; their labels are never read.

    Args:
        config: Settings of the run.
        train_data: Loader of all training rows.
        valid_data: Loader of the validation rows, or None.

    Raises:
        SettingError: There are no validation rows for ``train_valid``, or fewer rows than ``pretrain_rows``.
    """
    from recbole.data.interaction import cat_interactions

    from recbole_clickprompt.methods.clickprompt.replaced_item import shuffle_items
    from recbole_clickprompt.trainer.sampling import sample

    dataset = sample(config, train_data._dataset, "pretrain_rows")
    if config["pretrain_data"] == "train_valid":
        if valid_data is None:
            raise SettingError("pretrain_data: train_valid needs validation rows, and this run has none")
        dataset = dataset.copy(cat_interactions([dataset.inter_feat, valid_data._dataset.inter_feat]))
    return shuffle_items(config, dataset) if config["pretrain_shuffle_items"] else dataset

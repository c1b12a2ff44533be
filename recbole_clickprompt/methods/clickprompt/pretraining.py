"""The pretraining stage: PA-MLM, replaced-item detection, or both (``pretrain_objectives``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Curve

__all__ = ["MLM_CURVES", "Pretraining", "pretraining_rows"]

MLM_CURVES = (
    Curve(
        "pretrain", "mlm_loss", "Pretraining: MLM loss", "nats",
        "Mean cross entropy of the masked tokens. Runs that share a pretraining lie on one line.",
    ),
    Curve(
        "pretrain", "mlm_accuracy", "Pretraining: MLM accuracy", "share",
        "Masked tokens that were recovered; shared likewise.",
    ),
)  # fmt: skip


class Pretraining:
    """A ``trainer.protocols.PretrainingStage``."""

    name = "pretrain"

    def label(self, config: Any) -> str:
        """Both methods share it."""
        return f"{config['backbone']}-pretrained"

    def is_enabled(self, config: Any) -> bool:
        """Unless ``pretrain_epochs`` is 0."""
        return config["pretrain_epochs"] > 0

    def reads_text(self, config: Any) -> bool:
        """For PA-MLM, and to initialize embeddings from text."""
        return "mlm" in config["pretrain_objectives"] or bool(config["init_from_text"])

    def training_rows(self, config: Any, train_data: Any, valid_data: Any) -> Any:
        """See ``pretraining_rows``."""
        return pretraining_rows(config, train_data, valid_data)

    def batch_size(self, config: Any) -> int:
        """``pretrain_batch_size``."""
        return config["pretrain_batch_size"]

    def epochs(self, config: Any) -> int:
        """``pretrain_epochs``."""
        return config["pretrain_epochs"]

    def schedule(self, config: Any) -> tuple[str, float]:
        """``pretrain_lr_scheduler`` and ``pretrain_warmup_ratio``."""
        return config["pretrain_lr_scheduler"], config["pretrain_warmup_ratio"]

    def build(self, config: Any, dataset: Any) -> Any:
        """``PAMLM`` or ``ReplacedItem``, as ``pretrain_objectives`` says."""
        from recbole_clickprompt.methods.clickprompt.builders import build_pretraining

        return build_pretraining(config, dataset)

    def begin(self, config: Any, dataset: Any, model: Any, previous: Path | None) -> None:
        """Initializes embeddings from text where ``init_from_text`` asks for it."""
        from recbole_clickprompt.plm.text_init import init_embeddings_from_text

        if config["init_from_text"]:
            init_embeddings_from_text(model.backbone.model, config, dataset)

    def optimizer(self, config: Any, model: Any) -> torch.optim.Optimizer:
        """By the ``pretrain_`` settings."""
        from recbole_clickprompt.trainer.optimizer import build_optimizer

        return build_optimizer(
            model,
            learner=config["learner"],
            learning_rate=config["pretrain_learning_rate"],
            plm_learning_rate=config["pretrain_plm_learning_rate"],
            weight_decay=config["pretrain_weight_decay"],
            lazy_embedding_min_rows=config["lazy_embedding_min_rows"],
        )

    def evaluate(self, config: Any, model: Any, data: Any) -> dict[str, float]:
        """See ``evaluate_pretraining``."""
        from recbole_clickprompt.methods.clickprompt.pretraining_evaluation import evaluate_pretraining

        return evaluate_pretraining(config, model, data)

    def selection_metric(self, config: Any, *, bigger: bool) -> str:
        """Accuracy or loss of the first objective."""
        return f"{config['pretrain_objectives'][0]}_{'accuracy' if bigger else 'loss'}"


def pretraining_rows(config: Any, train_data: Any, valid_data: Any) -> Any:
    """The data set whose rows pretraining passes over: those of the training loader or a sample of them.

    With ``pretrain_data: train_valid`` also all validation rows.
    """
    from recbole.data.interaction import cat_interactions

    from recbole_clickprompt.methods.clickprompt.replaced_item import shuffle_items
    from recbole_clickprompt.trainer.sampling import sample

    dataset = sample(config, train_data._dataset, "pretrain_rows")
    if config["pretrain_data"] == "train_valid":
        if valid_data is None:
            raise SettingError("pretrain_data: train_valid needs validation rows, and this run has none")
        # Ids and text of validation rows, never their labels
        dataset = dataset.copy(cat_interactions([dataset.inter_feat, valid_data._dataset.inter_feat]))
    return shuffle_items(config, dataset) if config["pretrain_shuffle_items"] else dataset

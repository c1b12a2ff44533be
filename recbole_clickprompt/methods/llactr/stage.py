"""The stage ``fields``: the language model learns which values belong to which names of fields."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recbole_clickprompt.methods.base import Curve
from recbole_clickprompt.methods.llactr.field_values import FieldValues, field_values
from recbole_clickprompt.plm.weights import find_plm, text_files_hash, weights_hash
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.running_metrics import compute_and_reset

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

    from recbole_clickprompt.methods.llactr.self_training import FieldMatching

__all__ = ["FIELD_CURVES", "FieldNames"]

FIELD_CURVES = (
    Curve(
        "fields", "fields_loss", "Names of fields: loss", "nats",
        "Mean cross entropy of finding the name of the field that a value belongs to.",
    ),
    Curve(
        "fields", "fields_accuracy", "Names of fields: accuracy", "share",
        "Share of values whose own field has the most similar name.",
    ),
)  # fmt: skip

# Settings that determine the result, next to the contents of files
_SETTINGS = (
    "field_values", "pretrain_epochs", "pretrain_batch_size", "pretrain_plm_learning_rate",
    "pretrain_weight_decay", "pretrain_warmup_ratio", "pretrain_lr_scheduler", "plm_lora", "seed", "shuffle",
    "clip_grad_norm", "enable_amp",
)  # fmt: skip


class FieldNames:
    """A ``trainer.protocols.ExampleStage`` of values of fields."""

    name = "fields"

    def is_enabled(self, config: Settings) -> bool:
        """True if it has epochs, and something reads the names."""
        reads = config["field_interaction_weight"] or config["field_alignment_weight"]
        return bool(reads and config["pretrain_epochs"])

    def label(self, config: Settings) -> str:
        """``fields``: any backbone can use it."""
        return "fields"

    def reads_text(self, config: Settings) -> bool:
        """False: it reads no rows, and its examples have a fingerprint of their own (``inputs``)."""
        return False

    def training_rows(
        self, config: Settings, train_data: AbstractDataLoader, valid_data: AbstractDataLoader | None
    ) -> FieldValues:
        """See ``field_values``."""
        return field_values(train_data._dataset, most=config["field_values"], seed=config["seed"])

    def inputs(self, config: Settings, dataset: FieldValues) -> dict[str, Any]:
        """Settings of self-training, and hashes of values and of the language model."""
        folder = find_plm(config["plm"], seed=config["seed"])
        settings = {name: config[name] for name in _SETTINGS}
        return {
            "settings": {name: dict(v) if isinstance(v, dict) else v for name, v in settings.items()},
            "values": dataset.digest(),
            "plm_weights": weights_hash(folder),
            "plm_files": text_files_hash(folder),
        }

    def seed(self, config: Settings) -> int:
        """``seed``."""
        return config["seed"]

    def enable_amp(self, config: Settings) -> bool:
        """``enable_amp``."""
        return config["enable_amp"]

    def batch_size(self, config: Settings) -> int:
        """``pretrain_batch_size``."""
        return config["pretrain_batch_size"]

    def epochs(self, config: Settings) -> int:
        """``pretrain_epochs``."""
        return config["pretrain_epochs"]

    def schedule(self, config: Settings) -> tuple[str, float]:
        """``pretrain_lr_scheduler`` and ``pretrain_warmup_ratio``."""
        return config["pretrain_lr_scheduler"], config["pretrain_warmup_ratio"]

    def build(self, config: Settings, dataset: Any) -> FieldMatching:
        """The language model and its ``FieldValues``."""
        from recbole_clickprompt.methods.llactr.self_training import build_field_matching

        return build_field_matching(config, dataset)

    def begin(self, config: Settings, dataset: FieldValues, model: FieldMatching, previous: Path | None) -> None:
        """The language model starts from its own weights."""

    def optimizer(self, config: Settings, model: FieldMatching) -> torch.optim.Optimizer:
        """AdamW with one learning rate for all weights that are trained."""
        return build_optimizer(
            model,
            learner="adamw",
            learning_rate=config["pretrain_plm_learning_rate"],
            plm_learning_rate=config["pretrain_plm_learning_rate"],
            weight_decay=config["pretrain_weight_decay"],
        )

    def finish(
        self, config: Settings, model: FieldMatching, dataset: FieldValues, checkpoint: Path
    ) -> dict[str, float]:
        """Nothing more is measured than in training."""
        return {}

    def summary(self, config: Config, dataset: FieldValues, checkpoint: Path) -> str:
        """Loss and accuracy on the values."""
        from recbole_clickprompt.trainer.stages import load_stage_model

        model: Any = load_stage_model(self, config, dataset, checkpoint)
        found = _evaluate(model, config["micro_batch_size"])
        return f"names of fields: loss {found['fields_loss']:.4f}, accuracy {found['fields_accuracy']:.4f}"

    def evaluate(self, config: Config, model: FieldMatching, data: AbstractDataLoader) -> dict[str, float]:
        """Loss and accuracy on the values that were trained on; ``data`` is not read."""
        return _evaluate(model, config["micro_batch_size"])

    def selection_metric(self, config: Settings, *, bigger: bool) -> str:
        """``fields_accuracy`` or ``fields_loss``."""
        return "fields_accuracy" if bigger else "fields_loss"


@torch.no_grad()
def _evaluate(model: FieldMatching, size: int) -> dict[str, float]:
    model.eval()
    compute_and_reset(model.metrics, torch.device("cpu"))
    for part in torch.arange(len(model.values)).split(size):
        model.calculate_loss(part)
    losses, hits, count = model.metrics["fields"].sums  # each process has computed all values
    compute_and_reset(model.metrics, torch.device("cpu"))
    return {"fields_loss": losses / count, "fields_accuracy": hits / count}

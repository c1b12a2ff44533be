"""Rejects settings that the engine of the embedding tables does not support."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_clickprompt.embeddings.torchrec_rows import check_installed
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method

__all__ = ["check_engine"]


def check_engine(settings: Mapping[str, Any], method: Method) -> None:
    """Checks ``embedding_engine`` and ``learner: rowwise_adagrad`` against the other settings.

    Args:
        settings: All settings of the run.
        method: Of the run.

    Raises:
        SettingError: They do not go together, or TorchRec is not installed.
    """
    if settings["learner"] == "rowwise_adagrad" and settings["weight_decay"]:
        raise SettingError(
            f"learner: rowwise_adagrad has no weight decay, got weight_decay: {settings['weight_decay']}; set it "
            "to 0.0, or use adamw"
        )
    if settings["embedding_engine"] == "torch":
        if settings["embedding_sharding"] != "auto":
            raise SettingError(
                f"embedding_sharding: {settings['embedding_sharding']} has no effect with embedding_engine: "
                "torch; leave it out, or set embedding_engine to torchrec"
            )
        return
    engine = "embedding_engine: torchrec"
    if not method.shards:
        raise SettingError(f"{engine} is not supported by {method.name}; leave embedding_engine out")
    if settings["train_stage"] != "finetune" or settings["pre_model_path"]:
        raise SettingError(
            f"{engine} does not support pretraining; set train_stage to finetune and leave pre_model_path out"
        )
    if settings["warm_start"]:
        raise SettingError(f"{engine} does not support warm_start; leave it out, or train with the torch engine")
    if settings["learner"] != "rowwise_adagrad":
        raise SettingError(
            f"{engine} requires learner: rowwise_adagrad, got {settings['learner']}: TorchRec has no other "
            "optimizer for CPUs, and none was tested on GPUs"
        )
    if settings["lazy_embedding_min_rows"] is not None:
        raise SettingError(
            f"lazy_embedding_min_rows has no effect with {engine}, which always updates only the rows of a batch; "
            "leave it out"
        )
    if settings["clip_grad_norm"]:
        raise SettingError(
            f"{engine} does not support clip_grad_norm, as no process knows all gradients of a row; leave it out"
        )
    check_installed()

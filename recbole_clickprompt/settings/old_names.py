"""Settings of earlier versions: renamed ones, which still work in this version, and removed ones."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from typing import Any

from recbole_clickprompt.errors import SettingError

__all__ = ["DROPPED", "RENAMED", "refuse_dropped", "settings_of_saved_run", "use_new_names"]

RENAMED = {
    "handover": "load_pretrained",
    "plm_joint_layers": "plm_interaction_layers",
    "plm_joint_masks": "plm_cached_masks",
    "pretrain_vocabulary": "mlm_candidates",
    "rowwise_embeddings": "lazy_embedding_min_rows",
    "save_minutes": "checkpoint_minutes",
    "text_embeddings": "init_from_text",
    "tower_loss_share": "tower_loss_weight",
    "unseen_embeddings": "unseen_id_embeddings",
    "unsplit_fields": "whole_text_fields",
    "value_words": "value_labels",
}
# What to use instead
DROPPED = {
    "plm_frozen_epochs": "plm_learning_rate (0 freezes the PLM) or warmup_ratio",
    "plm_layer_decay": "plm_learning_rate, which all layers share",
    "pretrain_mlm_epochs": "pretrain_objectives and pretrain_epochs, which apply to all passes",
    "save_step": "checkpoint_minutes",
}


def use_new_names(*sources: dict[str, Any], where: str = "") -> None:
    """Renames old settings of a new run in place, keeping their order; one log line reports them.

    Args:
        sources: Mappings of settings that together configure a run, such as property files and a command line.
        where: The file that the settings come from, for messages.

    Raises:
        SettingError: A setting is given under both its old and its new name.
    """
    prefix = f"{where}: " if where else ""
    given = {name for source in sources for name in source}
    old = {name: new for name, new in RENAMED.items() if name in given}
    for name, new in old.items():
        if new in given:
            raise SettingError(f"{prefix}{name} is the old name of {new}, and both are given; keep only {new}")
    if not old:
        return
    for source in sources:
        renamed = {RENAMED.get(name, name): value for name, value in source.items()}
        source.clear()
        source.update(renamed)
    changes = ", ".join(f"{name} is now {new}" for name, new in old.items())
    getLogger().warning(f"{prefix}{changes}; old names of settings will not work in the next version")


def refuse_dropped(settings: Mapping[str, Any], where: str = "") -> None:
    """Raises SettingError, naming the replacement, if a new run uses a removed setting."""
    for name, instead in DROPPED.items():
        if name in settings:
            prefix = f"{where}: " if where else ""
            raise SettingError(f"{prefix}{name} is no longer a setting; leave it out and use {instead}")


def settings_of_saved_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run of any version under their current names; removed settings are kept unchanged."""
    renamed = {RENAMED[name]: value for name, value in settings.items() if name in RENAMED}
    return {**renamed, **{name: value for name, value in settings.items() if name not in RENAMED}}

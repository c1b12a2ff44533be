"""Rejects unknown settings and invalid values with one clear error.

RecBole silently accepts any key, so a misspelled one trains the wrong model. Here each key must be known to
RecBole or this package, and its value must have a valid type and range, before any data is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recbole.utils.argument_list import (
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.host.check_engine import check_engine
from recbole_clickprompt.host.check_row_sharding import check_row_sharding
from recbole_clickprompt.host.properties import backbone_settings
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.settings.old_names import refuse_dropped
from recbole_clickprompt.settings.registry import declared
from recbole_clickprompt.settings.types import integer

__all__ = ["check_settings"]

# Keys that RecBole reads but does not list
_UNLISTED = {
    "model", "dataset", "config_files", "config_file_list", "nproc", "ip", "port", "world_size", "offset",
    "group_offset", "local_rank", "device", "encoding", "discretization", "numerical_features", "wandb_project",
    "transform", "require_pow",
}  # fmt: skip


def check_settings(
    *,
    model: str,
    host_settings: Iterable[str],
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
    command_line: Mapping[str, Any],
) -> set[str]:
    """Rejects unknown keys and invalid values.

    Args:
        model: Name of a method.
        host_settings: Keys in RecBole's property files.
        defaults: All property files merged.
        given: Settings from the user's files and ``config_dict``.
        command_line: ``--key=value`` options of the running program. A user's own program may have other options,
            so unknown ones are not an error; the command line of this package passes its settings through
            ``given``.

    Returns:
        The unknown keys of the command line.

    Raises:
        SettingError: A key is unknown, or a value is invalid or contradicts another one.
    """
    refuse_dropped({**given, **command_line})
    refuse_dropped(defaults, where="a property file under ./props")
    settings = declared()
    known = {*host_settings, *defaults, *settings, *_UNLISTED, *backbone_settings()}
    known.update(general_arguments, training_arguments, evaluation_arguments, dataset_arguments)
    for key in given:
        if key not in known:
            raise SettingError(f"{key} is not a setting of RecBole or of this package{nearest(str(key), known)}")
    if "valid_metric_bigger" in {**given, **command_line}:
        raise SettingError("valid_metric_bigger follows from valid_metric, and RecBole ignores it; leave it out")
    final = {**defaults, **given, **command_line}
    for key, setting in settings.items():
        if key in final and not setting.accepts(final[key]):
            raise SettingError(f"{key} must be {setting.expected}, got {final[key]!r}{_hint(key, final[key])}")
    if not integer(0).accepts(final.get("offset", 0)):  # RecBole's own ``run`` passes it
        raise SettingError(f"offset must be {integer(0).expected}, got {final['offset']!r}")
    metrics = [final["metrics"]] if isinstance(final["metrics"], str) else final["metrics"]
    if final["valid_metric"].lower() not in [name.lower() for name in metrics]:
        raise SettingError(
            f"valid_metric is {final['valid_metric']}, which is not one of the metrics {metrics}; add it"
        )
    decay_given = "weight_decay" in given or "weight_decay" in command_line
    if final["learner"] != "adamw" and final["weight_decay"] and not decay_given:
        raise SettingError(
            f"learner: {final['learner']} uses weight_decay as an L2 penalty, for which the default for adamw, "
            f"{final['weight_decay']}, is too strong; set weight_decay too, for example to 0.0"
        )
    if final.get("warm_start_optimizer", "fresh") != "fresh" and final.get("warm_start") is None:
        raise SettingError(
            f"warm_start_optimizer: {final['warm_start_optimizer']} has no effect without warm_start; name a "
            "checkpoint in warm_start, or leave it out"
        )
    method = find_method(model)
    stages = ("all", *(stage.name for stage in method.stages), "finetune")
    if final["train_stage"] not in stages:
        raise SettingError(f"train_stage must be one of {', '.join(stages)}, got {final['train_stage']!r}")
    method.check(final)
    check_engine(final, method)
    check_row_sharding(final, method)
    if any(stage.name == final["train_stage"] and not stage.is_enabled(final) for stage in method.stages):
        raise SettingError(
            f"train_stage: {final['train_stage']} has nothing to train with {_reason(final)}, or train_stage to "
            "finetune"
        )
    return set(command_line) - known


def _reason(settings: Mapping[str, Any]) -> str:
    """Why a stage is left out, and what to set for it."""
    if settings.get("pretrain_epochs") == 0:
        return "pretrain_epochs: 0; set it to 1 or more"
    if "knowledge" in settings and not settings["knowledge"]:
        return "knowledge: null; set it to a list of files of answers, as recbole-cp teach writes them"
    return "these settings; set what it learns from"


def _hint(key: str, value: object) -> str:
    return nearest(value, BACKBONES) if key == "backbone" and isinstance(value, str) else ""

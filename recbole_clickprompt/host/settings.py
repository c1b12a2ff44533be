"""What every setting may be, and one clear error for what it may not.

RecBole takes any key in silence, so a misspelled one trains the wrong model. Here each key must be known to
RecBole or to us, and a known one must have the right type and range, before any data is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole.utils.argument_list import (
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.host.properties import property_folders, read_yaml
from recbole_clickprompt.model.backbone import BACKBONES

__all__ = ["SETTINGS", "Setting", "check_settings"]


@dataclass(frozen=True)
class Setting:
    """The values a key may take: ``expected`` in words, ``accepts`` as a test."""

    expected: str
    accepts: Callable[[Any], bool]


def _integer(at_least: int) -> Setting:
    return Setting(
        f"an integer, {at_least} or more",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= at_least,
    )


def _real(low: float = 0.0, high: float = math.inf, *, low_open: bool = False, high_open: bool = True) -> Setting:
    def accepts(v: Any) -> bool:
        number = isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
        return number and (v > low if low_open else v >= low) and (v < high if high_open else v <= high)

    bounds = f"{'above' if low_open else 'from'} {low:g}"
    if high < math.inf:
        bounds += f" to {'below ' if high_open else ''}{high:g}"
    return Setting(f"a number {bounds}", accepts)


def _choice(*names: str) -> Setting:
    return Setting("one of " + ", ".join(names), lambda v: isinstance(v, str) and v in names)


def _list(item: Setting) -> Setting:
    return Setting(
        f"a list, each {item.expected}",
        lambda v: isinstance(v, list | tuple) and all(map(item.accepts, v)),
    )


def _optional(setting: Setting) -> Setting:
    return Setting(f"{setting.expected}, or nothing (~)", lambda v: v is None or setting.accepts(v))


def _is_text_mapping(v: Any) -> bool:
    return isinstance(v, dict) and all(
        isinstance(k, str) and isinstance(w, str) and w.strip() for k, w in v.items()
    )


_BOOLEAN = Setting("True or False", lambda v: isinstance(v, bool))
_TEXT = Setting("a text", lambda v: isinstance(v, str))
_NAME = Setting("a name or a path", lambda v: isinstance(v, str) and bool(v.strip()))
_POSITIVE = _real(low_open=True)
_FRACTION = _real(0, 1, high_open=False)
_DROPOUT = _real(0, 1)
_SCHEDULE = _choice("cosine", "linear", "constant")
_SIZES = _list(_integer(1))
_WIDTHS = Setting("a list of one or more integers from 1", lambda v: _SIZES.accepts(v) and bool(v))
_FIELDS = Setting(
    "a mapping of the numbers 0, 1, ... to lists of features",
    lambda v: (
        isinstance(v, dict) and set(v) == set(range(len(v))) and all(isinstance(f, list) for f in v.values())
    ),
)

SETTINGS: dict[str, Setting] = {
    # the model
    "backbone": _choice(*BACKBONES),
    "plm": _NAME,
    "plm_num_layers": _optional(_integer(1)),
    "plm_dropout": _optional(_DROPOUT),
    "plm_gradient_checkpointing": _BOOLEAN,
    "plm_joint_layers": _optional(_integer(1)),
    "plm_joint_masks": _integer(1),
    "num_prompts": _integer(1),
    "prompt_strategy": _choice("layerwise", "input"),
    "prompt_projection": _choice("per_prompt", "shared_kv"),
    "finetune_prompts": _BOOLEAN,
    "plm_pooling": _choice("cls", "avg", "avg_first_last", "avg_top2"),
    "plm_lora": _optional(
        Setting(
            "a mapping with some of r, alpha, dropout, target_modules",
            lambda v: isinstance(v, dict) and set(v) <= {"r", "alpha", "dropout", "target_modules"},
        )
    ),
    "fusion_weight": _FRACTION,
    "fusion_learnable": _BOOLEAN,
    # the text
    "text_fields": Setting(
        "a mapping of fields to their names in words, one or more", lambda v: _is_text_mapping(v) and bool(v)
    ),
    "value_words": Setting(
        "a mapping of fields to mappings of codes to words",
        lambda v: isinstance(v, dict) and all(isinstance(w, dict) for w in v.values()),
    ),
    "shuffle_text": _BOOLEAN,
    "unsplit_fields": _list(_TEXT),
    "rename_fields": Setting(
        "a mapping of inter, user or item to mappings of field names to other names",
        lambda v: (
            isinstance(v, dict) and set(v) <= {"inter", "user", "item"} and all(map(_is_text_mapping, v.values()))
        ),
    ),
    "max_text_length": _optional(_integer(3)),
    # the stages
    "train_stage": _choice("all", "pretrain", "finetune"),
    "pre_model_path": _optional(_TEXT),
    "save_step": _integer(0),
    "save_minutes": _real(),
    "resume": _optional(_NAME),
    "mask_ratio": _real(0, 1, low_open=True),
    "mask_target": _choice("tokens", "values", "fields"),
    "pretrain_vocabulary": _choice("plm", "data"),
    "pretrain_data": _choice("train", "train_valid"),
    "pretrain_epochs": _integer(1),
    "pretrain_batch_size": _integer(1),
    "pretrain_learning_rate": _POSITIVE,
    "pretrain_plm_learning_rate": _real(),
    "pretrain_weight_decay": _real(),
    "pretrain_warmup_ratio": _FRACTION,
    "pretrain_lr_scheduler": _SCHEDULE,
    "plm_learning_rate": _real(),
    "warmup_ratio": _FRACTION,
    "lr_scheduler": _SCHEDULE,
    "micro_batch_size": _integer(1),
    "backbone_amp": _BOOLEAN,
    "rowwise_embeddings": _optional(_integer(1)),
    # RecBole's own, whose types it never checks
    "epochs": _integer(1),
    "train_batch_size": _integer(1),
    "eval_batch_size": _integer(1),
    "save_predictions": _BOOLEAN,
    "learner": _choice("adam", "adamw", "sgd", "adagrad", "rmsprop"),
    "learning_rate": _POSITIVE,
    "weight_decay": _real(),
    "eval_step": _integer(0),
    "stopping_step": _integer(0),
    "metric_decimal_place": _integer(0),
    "loss_decimal_place": _integer(0),
    "seed": _integer(0),
    "worker": _integer(0),
    "reproducibility": _BOOLEAN,
    "show_progress": _BOOLEAN,
    "shuffle": _BOOLEAN,
    "use_gpu": _BOOLEAN,
    "enable_amp": _BOOLEAN,
    "enable_scaler": Setting("False: bf16, which enable_amp uses, needs no scaler", lambda v: v is False),
    "data_path": _TEXT,
    "checkpoint_dir": _NAME,
    "save_dataset": Setting("False: it would be a pickle", lambda v: v is False),
    "save_dataloaders": Setting("False: they would be pickles", lambda v: v is False),
    # backbones
    "embedding_size": _integer(1),
    "mlp_hidden_size": _WIDTHS,
    "dropout_prob": _DROPOUT,
    "dropout_probs": _list(_DROPOUT),
    "cross_layer_num": _integer(1),
    "mixed": _BOOLEAN,
    "structure": _choice("parallel", "stacked"),
    "expert_num": _integer(1),
    "low_rank": _integer(1),
    "reg_weight": _real(),
    "attention_size": _integer(1),
    "n_layers": _integer(1),
    "num_heads": _integer(1),
    "has_residual": _BOOLEAN,
    "hidden_dropout_prob": _DROPOUT,
    "attn_dropout_prob": _DROPOUT,
    "cin_layer_size": _WIDTHS,
    "direct": _BOOLEAN,
    "use_inner": _BOOLEAN,
    "use_outer": _BOOLEAN,
    "fields": _optional(_FIELDS),
    "double_tower": Setting("True: only DSSM reads it, and it has two towers", lambda v: v is True),
    "order_list": _WIDTHS,
    "drop_ex": _DROPOUT,
    "drop_im": _DROPOUT,
    "apply_norm": _BOOLEAN,
    "phase": _choice("teacher_training", "finetuning"),
    "type": _choice("inner", "outer"),
    "t_depth": _integer(1),
    "depth": _integer(1),
    "conv_channels": _WIDTHS,
    "conv_kernel_size": _integer(1),
    "pooling_size": _integer(1),
    "recombined_channels": _integer(1),
    "reduction_ratio": _POSITIVE,
    "bilinear_type": _choice("all", "each", "interaction"),
    "mlp1_hidden_size": _WIDTHS,
    "mlp2_hidden_size": _WIDTHS,
    "gate_hidden_size": _SIZES,
    "fs1_context": _list(_TEXT),
    "fs2_context": _list(_TEXT),
    "num_blocks": _integer(1),
    "block_size": _integer(1),
    "num_fm": _integer(1),
    "num_linear": _integer(1),
    "fm_hidden_size": _SIZES,
}

# Keys that RecBole reads but lists nowhere
_UNLISTED = {
    "model", "dataset", "config_files", "config_file_list", "nproc", "ip", "port", "world_size", "offset",
    "group_offset", "local_rank", "device", "encoding", "discretization", "numerical_features", "double_tower",
    "wandb_project", "transform", "require_pow", "enable_amp", "enable_scaler", "worker", "shuffle",
}  # fmt: skip


def check_settings(
    *,
    model: str,
    host_settings: Iterable[str],
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
    command_line: Mapping[str, Any],
) -> set[str]:
    """Refuses unknown keys and impossible values.

    Args:
        model: ``ClickPrompt`` or ``ClickPromptNoPLM``.
        host_settings: Keys that RecBole's property files hold.
        defaults: All property files merged.
        given: The user's files and ``config_dict``.
        command_line: ``--key=value`` of the running program. A program of the user's own has options that are
            not meant for us, so unknown ones are no error; our front door passes its own through ``given``.

    Returns:
        The unknown keys of the command line.

    Raises:
        SettingError: Names the key, what was expected and what came.
    """
    known = {*host_settings, *defaults, *SETTINGS, *_UNLISTED, *_backbone_keys()}
    known.update(general_arguments, training_arguments, evaluation_arguments, dataset_arguments)
    for key in given:
        if key not in known:
            raise SettingError(f"{key} is no setting of RecBole or ClickPrompt{nearest(str(key), known)}")
    final = {**defaults, **given, **command_line}
    for key, setting in SETTINGS.items():
        if key in final and not setting.accepts(final[key]):
            raise SettingError(f"{key} must be {setting.expected}, got {final[key]!r}{_hint(key, final[key])}")
    plain = model == "ClickPromptNoPLM" and final["train_stage"] == "finetune"
    if "text_fields" not in final and not plain:
        raise SettingError(
            "text_fields is not set: list the fields whose values make up a row's text, "
            "for example `text_fields: {user_id: user ID, item_id: item ID}` in props/dataset/<dataset>.yaml"
        )
    return set(command_line) - known


def _hint(key: str, value: Any) -> str:
    return nearest(value, BACKBONES) if key == "backbone" and isinstance(value, str) else ""


def _backbone_keys() -> set[str]:
    # A file shared by several backbones may hold the settings of all of them
    files = (p for folder in property_folders() for p in (folder / "backbone").glob("*.yaml"))
    return {key for path in files for key in read_yaml(path)}

"""What determines a training: runs that agree in it share one pretraining, and go on from one another's state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from recbole_clickprompt.plm.weights import find_plm, weights_hash
from recbole_clickprompt.settings.registry import of_stage
from recbole_clickprompt.trainer.pretrained_checkpoint import read_checksum

__all__ = [
    "checkpoint_path",
    "differences",
    "finetuning_inputs",
    "settings_of_finetuning",
    "settings_without_effect",
    "stage_inputs",
    "state_path",
]

# Keys of RecBole's config that are not declared. All others count unless their declaration says otherwise, so that
# one added later can only cost a repetition and never give a wrong reuse.
_OF_FINETUNING = {
    "model", "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "valid_metric_bigger", "valid_neg_sample_args",
    "test_neg_sample_args", "eval_neg_sample_args",
}  # fmt: skip
_WITHOUT_EFFECT = {
    "gpu_id", "device", "state", "verbose", "wandb_project", "local_rank", "world_size", "offset", "nproc", "ip",
    "port", "single_spec", "dataset_save_path", "dataloaders_save_path", "config_files", "config_file_list",
}  # fmt: skip


def settings_without_effect() -> set[str]:
    """Those that determine nothing that is trained; where files are is one, as their content counts."""
    return of_stage("none") | _WITHOUT_EFFECT


def settings_of_finetuning() -> set[str]:
    """Those that pretraining never reads: of finetuning and evaluation."""
    return of_stage("finetune") | _OF_FINETUNING


def stage_inputs(config: Any, dataset: Any, *, reads_text: bool, previous: Path | None = None) -> dict[str, Any]:
    """All that determines a stage before finetuning: settings, and hashes of what it reads.

    Args:
        config: Of the run.
        dataset: Its training rows.
        reads_text: It reads their text, so tokens and language model count.
        previous: The checkpoint that it starts from.
    """
    without = settings_of_finetuning() | settings_without_effect()
    if not reads_text:
        without |= of_stage("text")
    return {
        "settings": _settings(config, without=without),
        "rows": _rows_hash(dataset),
        "vocabulary": {f: dataset.num(f) for f in sorted(dataset.field2id_token)},
        **_history(dataset),
        **({} if previous is None else {"previous": read_checksum(previous)}),
        **(_text_inputs(config, dataset) if reads_text else {}),
    }


def finetuning_inputs(
    config: Any, train_data: Any, valid_data: Any, start: str | None, *, reads_text: bool
) -> dict[str, Any]:
    """As ``stage_inputs``, of a whole run.

    Args:
        config: Of the run.
        train_data: Loader of training rows.
        valid_data: Loader of validation rows, or None.
        start: Checksum of the file that ``pre_model_path`` names, or None.
        reads_text: It, or a stage before it, reads the text of rows.
    """
    dataset = train_data._dataset
    return {
        "settings": _settings(config, without=settings_without_effect()),
        "rows": _rows_hash(dataset),
        "validation rows": _rows_hash(valid_data._dataset) if valid_data else None,
        "vocabulary": {f: dataset.num(f) for f in sorted(dataset.field2id_token)},
        **_history(dataset),
        "pre_model_path": start,
        **(_text_inputs(config, dataset) if reads_text else {}),
    }


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """In words, where two inputs differ: ``"learning_rate (there 0.1, here 0.2)"``."""
    mine, other = ours["settings"], theirs["settings"]
    found = [
        f"{key} (there {other.get(key)!r}, here {mine.get(key)!r})"
        for key in sorted(mine.keys() | other.keys())
        if mine.get(key) != other.get(key)
    ]
    parts = sorted((ours.keys() | theirs.keys()) - {"settings"})
    return found + [f"the {part.replace('_', ' ')}" for part in parts if ours.get(part) != theirs.get(part)]


def state_path(config: Any, label: str, inputs: dict[str, Any]) -> Path:
    """Where the state of an unfinished training of these inputs is kept; ``label`` is part of the file's name."""
    return Path(config["checkpoint_dir"]) / f"{config['dataset']}-{label}-{_digest(inputs)}.resume"


def _settings(config: Any, *, without: set[str]) -> dict[str, Any]:
    settings = {k: v for k, v in config.final_config_dict.items() if k not in without}
    return json.loads(json.dumps(settings, sort_keys=True, default=str))


def _rows_hash(dataset: Any) -> str:
    return _tensors_hash(
        (f"{source}.{name}", feat[name])
        for source, feat in (
            ("inter", dataset.inter_feat),
            ("user", dataset.user_feat),
            ("item", dataset.item_feat),
        )
        if feat is not None
        for name in sorted(feat.columns)
    )


def _history(dataset: Any) -> dict[str, str]:
    return {} if dataset.history_log is None else {"history": dataset.history_log.digest()}


def _text_inputs(config: Any, dataset: Any) -> dict[str, Any]:
    folder = find_plm(config["plm"])
    table = dataset.token_table(config["plm"])
    return {
        "tokens": _tensors_hash([*table.named_buffers(), *_specials(table)]),
        "plm_weights": weights_hash(folder),
        "plm_config": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
    }


def checkpoint_path(config: Any, label: str, inputs: dict[str, Any]) -> Path:
    """Where the result of a stage with these inputs is kept; ``label`` is part of the file's name."""
    name = f"{config['dataset']}-{label}-{_digest(inputs)}.safetensors"
    return Path(config["checkpoint_dir"]) / name


def _digest(inputs: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def _specials(table: Any) -> list[tuple[str, torch.Tensor]]:
    numbers = {"prefix": table.prefix, "suffix": table.suffix, "length": [table.max_length]}
    return [(name, torch.tensor(values)) for name, values in numbers.items()]


def _tensors_hash(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

"""The inputs that determine a training run. Runs with equal inputs share pretraining and can resume each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from recbole_clickprompt.plm.weights import find_plm, weights_hash
from recbole_clickprompt.settings.registry import of_stage
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.pretrained_checkpoint import read_checksum

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset

    from recbole_clickprompt.text.tokens import TokenTable

__all__ = [
    "checkpoint_path",
    "computes_in_bf16",
    "differences",
    "finetuning_inputs",
    "rows_hash",
    "settings_of_finetuning",
    "settings_without_effect",
    "stage_inputs",
    "state_path",
]

# Keys of RecBole's config that are not declared. All others count unless their declaration says otherwise, so a
# key added later can only cause an unnecessary training run, never a wrong reuse.
_FINETUNING_KEYS = {
    "model", "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "valid_metric_bigger", "valid_neg_sample_args",
    "test_neg_sample_args", "eval_neg_sample_args",
}  # fmt: skip
_KEYS_WITHOUT_EFFECT = {
    "gpu_id", "device", "state", "verbose", "wandb_project", "local_rank", "world_size", "offset", "nproc", "ip",
    "port", "single_spec", "dataset_save_path", "dataloaders_save_path", "config_files", "config_file_list",
}  # fmt: skip


def settings_without_effect() -> set[str]:
    """Settings that affect no trained result, such as paths: file contents are hashed instead."""
    return of_stage("none") | _KEYS_WITHOUT_EFFECT


def settings_of_finetuning() -> set[str]:
    """Settings of finetuning and evaluation, which pretraining never reads."""
    return of_stage("finetune") | _FINETUNING_KEYS


def stage_inputs(
    config: Config, dataset: Dataset, *, reads_text: bool, previous: Path | None = None
) -> dict[str, Any]:
    """Everything that determines a stage before finetuning: settings, and hashes of the data it reads.

    Args:
        config: Settings of the run.
        dataset: Its training rows.
        reads_text: Whether the stage reads text, so that tokens and language model are included.
        previous: The checkpoint that it starts from.
    """
    without = settings_of_finetuning() | settings_without_effect()
    if not reads_text:
        without |= of_stage("text")
    settings = _settings(config, without=without)
    if not reads_text and computes_in_bf16(config, reads_text=False):
        settings["enable_amp"] = settings["backbone_amp"] = True
    return {
        "settings": settings,
        "rows": rows_hash(dataset),
        "vocabulary": {f: dataset.num(f) for f in sorted(dataset.field2id_token)},
        **_history(dataset),
        **({} if previous is None else {"previous": read_checksum(previous)}),
        **(_text_inputs(config, dataset) if reads_text else {}),
    }


def computes_in_bf16(config: Settings, *, reads_text: bool) -> bool:
    """Whether autocast to bf16 is enabled in a stage: ``enable_amp`` is about what reads text."""
    return config["enable_amp"] and (reads_text or config["backbone_amp"])


def finetuning_inputs(
    config: Config,
    train_data: AbstractDataLoader,
    valid_data: AbstractDataLoader | None,
    start: str | None,
    *,
    reads_text: bool,
    further: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """As ``stage_inputs``, for a whole run including finetuning.

    Args:
        config: Settings of the run.
        train_data: Loader of the training rows.
        valid_data: Loader of the validation rows, or None.
        start: Checksum of the file that ``pre_model_path`` names, or None.
        reads_text: Whether finetuning or an earlier stage reads the text of rows.
        further: What else determines the run, by name; see ``FinetuningMethod.inputs``.
    """
    dataset = train_data._dataset
    return {
        "settings": _settings(config, without=settings_without_effect()),
        "rows": rows_hash(dataset),
        "validation rows": rows_hash(valid_data._dataset) if valid_data else None,
        "vocabulary": {f: dataset.num(f) for f in sorted(dataset.field2id_token)},
        **_history(dataset),
        "pre_model_path": start,
        **further,
        **(_text_inputs(config, dataset) if reads_text else {}),
    }


def differences(inputs: dict[str, Any], saved: dict[str, Any]) -> list[str]:
    """Describes the differences between the inputs of this run and saved ones.

    Returns:
        Descriptions such as ``"learning_rate (saved 0.1, now 0.2)"`` or ``"the rows"``.
    """
    new, old = inputs["settings"], saved["settings"]
    found = [
        f"{key} (saved {old.get(key)!r}, now {new.get(key)!r})"
        for key in sorted(new.keys() | old.keys())
        if new.get(key) != old.get(key)
    ]
    parts = sorted((inputs.keys() | saved.keys()) - {"settings"})
    return found + [f"the {part.replace('_', ' ')}" for part in parts if inputs.get(part) != saved.get(part)]


def state_path(config: Settings, label: str, inputs: dict[str, Any]) -> Path:
    """Path of the state of an unfinished training run with these inputs; ``label`` is part of the file name."""
    return Path(config["checkpoint_dir"]) / f"{config['dataset']}-{label}-{_digest(inputs)}.resume"


def _settings(config: Config, *, without: set[str]) -> dict[str, Any]:
    settings = {k: v for k, v in config.final_config_dict.items() if k not in without}
    return json.loads(json.dumps(settings, sort_keys=True, default=str))


def rows_hash(dataset: Dataset, fields: Collection[str] | None = None) -> str:
    """SHA-256 of a data set's columns of rows, users and items, in hexadecimal; of some fields or of all.

    Where processes share the rows, it is equal in all of them, and depends on their number.
    """
    own = _tensors_hash(
        (f"{source}.{name}", feat[name])
        for source, feat in (
            ("inter", dataset.inter_feat),
            ("user", dataset.user_feat),
            ("item", dataset.item_feat),
        )
        if feat is not None
        for name in sorted(feat.columns)
        if fields is None or name in fields
    )
    return _over_processes(dataset, own)


def _over_processes(dataset: Dataset, digest: str) -> str:
    digests = dataset.row_group.all_gather(digest)
    return digest if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _history(dataset: Dataset) -> dict[str, str]:
    """Hashes of what the hidden columns of rows point to."""
    parts = {"history": dataset.history_log, "user_profiles": dataset.user_profiles}
    return {name: _over_processes(dataset, part.digest()) for name, part in parts.items() if part is not None}


def _text_inputs(config: Settings, dataset: Dataset) -> dict[str, Any]:
    folder = find_plm(config["plm"], seed=config["seed"])
    table = dataset.token_table(config["plm"])
    return {
        "tokens": _tensors_hash([*table.named_buffers(), *_specials(table)]),
        "plm_weights": weights_hash(folder),
        "plm_config": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
    }


def checkpoint_path(config: Settings, label: str, inputs: dict[str, Any]) -> Path:
    """Path of the result of a stage with these inputs; ``label`` is part of the file name."""
    name = f"{config['dataset']}-{label}-{_digest(inputs)}.safetensors"
    return Path(config["checkpoint_dir"]) / name


def _digest(inputs: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def _specials(table: TokenTable) -> list[tuple[str, torch.Tensor]]:
    numbers = {"prefix": table.prefix, "suffix": table.suffix, "length": [table.max_length]}
    return [(name, torch.tensor(values)) for name, values in numbers.items()]


def _tensors_hash(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

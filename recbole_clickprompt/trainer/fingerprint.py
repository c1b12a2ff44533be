"""What determines a pretrained model: two runs that agree in it share one pretraining."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from recbole_clickprompt.model.plm.weights import find_plm, weights_hash

__all__ = ["checkpoint_path", "pretraining_inputs"]

# Settings that pretraining never reads. All others count, so that one added later can only cost a
# repetition and never give a wrong reuse.
_WITHOUT_EFFECT = {
    # finetuning and evaluation
    "model", "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "train_stage", "pre_model_path", "save_step",
    "epochs", "train_batch_size", "learning_rate", "plm_learning_rate", "weight_decay", "warmup_ratio",
    "lr_scheduler", "finetune_prompts", "plm_pooling", "fusion_weight", "fusion_learnable", "eval_step",
    "stopping_step", "eval_batch_size", "metrics", "topk", "valid_metric", "valid_metric_bigger",
    "metric_decimal_place", "loss_decimal_place", "valid_neg_sample_args", "test_neg_sample_args",
    "eval_neg_sample_args", "save_predictions",
    # where it runs and what it shows
    "gpu_id", "use_gpu", "device", "worker", "state", "show_progress", "verbose", "log_wandb", "wandb_project",
    "local_rank", "world_size", "offset", "nproc", "ip", "port", "single_spec",
    # where files are; their content counts
    "plm", "checkpoint_dir", "data_path", "save_dataset", "dataset_save_path", "save_dataloaders",
    "dataloaders_save_path", "config_files", "config_file_list",
}  # fmt: skip


def pretraining_inputs(config: Any, dataset: Any) -> dict[str, Any]:
    """Settings, and hashes of the training rows, the text's tokens and the PLM: all that pretraining reads."""
    folder = find_plm(config["plm"])
    table = dataset.token_table(config["plm"])
    settings = {k: v for k, v in config.final_config_dict.items() if k not in _WITHOUT_EFFECT}
    return {
        "settings": json.loads(json.dumps(settings, sort_keys=True, default=str)),
        "rows": _tensors_hash(
            (f"{source}.{name}", feat[name])
            for source, feat in (
                ("inter", dataset.inter_feat),
                ("user", dataset.user_feat),
                ("item", dataset.item_feat),
            )
            if feat is not None
            for name in sorted(feat.columns)
        ),
        "vocabulary": {f: dataset.num(f) for f in sorted(dataset.field2id_token)},
        "tokens": _tensors_hash([*table.named_buffers(), *_specials(table)]),
        "plm_weights": weights_hash(folder),
        "plm_config": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
    }


def checkpoint_path(config: Any, inputs: dict[str, Any]) -> Path:
    """Where the pretraining of these inputs is kept."""
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    return (
        Path(config["checkpoint_dir"])
        / f"{config['dataset']}-{config['backbone']}-pretrained-{digest}.safetensors"
    )


def _specials(table: Any) -> list[tuple[str, torch.Tensor]]:
    numbers = {"prefix": table.prefix, "suffix": table.suffix, "length": [table.max_length]}
    return [(name, torch.tensor(values)) for name, values in numbers.items()]


def _tensors_hash(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

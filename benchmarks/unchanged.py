"""Checks whether a change of the code leaves training bit-identical, or how much it changes scores.

    python -m benchmarks.unchanged before.json          # in a checkout without the change
    python -m benchmarks.unchanged after.json           # in one with it, on the same machine
    python -m benchmarks.unchanged after.json --compare before.json
    python -m benchmarks.unchanged before.json --keep=runs     # keeps the runs of the code without the change,
    python -m benchmarks.unchanged --rescore=runs              # for the code with it, which restores them

Trains variants on ``tiny`` and, with --demo, the models of the demo on ml-100k, with one seed and one thread each,
and records the test metrics, the scores of the test rows and the SHA-256 of every tensor of the final checkpoints.
Training uses RecBole's entry point and settings alone, so it works with any version of the package; settings have
the names and defaults of version 0.1.0. Where random numbers of dropout have changed, trained models differ: what
equal weights give is then shown by restoring kept runs, whose test rows are scored again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from recbole.quick_start import run_recbole
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

import recbole_clickprompt  # noqa: F401 - registers the models

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = {
    "data_path": str(ROOT / "dataset_atomic"), "plm": "minilm", "plm_num_layers": 2, "gpu_id": "",
    "show_progress": False, "num_prompts": 2, "embedding_size": 8, "mlp_hidden_size": [16, 16],
    "cross_layer_num": 2,
    "epochs": 2, "train_batch_size": 64, "micro_batch_size": 32, "pretrain_epochs": 1, "pretrain_batch_size": 64,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "with": {},
    "without": {"model": "ClickPromptNoPLM"},
    "plain": {"model": "ClickPromptNoPLM", "train_stage": "finetune"},
    "replaced items": {"pretrain_objectives": ["mlm", "replaced_item"]},
    "replaced items alone": {"model": "ClickPromptNoPLM", "pretrain_objectives": ["replaced_item"]},
    "without prompts": {"finetune_prompts": False},
    "prompts in the input": {"prompt_strategy": "input"},
    "shared projections": {"prompt_projection": "shared_kv"},
    "average pooling": {"plm_pooling": "avg"},
    "joint layers": {"plm_joint_layers": 1},
    "LoRA": {"plm_lora": {"r": 4, "alpha": 8}},
    "text embeddings": {"model": "ClickPromptNoPLM", "train_stage": "finetune", "text_embeddings": ["item_id"]},
    "unseen at zero": {"unseen_embeddings": "zero", "handover": "embeddings"},
    "tower loss": {"tower_loss_share": 0.5, "prompt_dropout": 0.2},
    "masked fields": {"mask_target": "fields", "pretrain_vocabulary": "data"},
    "lazy tables": {"rowwise_embeddings": 1},
    "bf16": {"enable_amp": True},
    "DeepFM": {"backbone": "DeepFM"},
    "xDeepFM": {"backbone": "xDeepFM", "cin_layer_size": [8, 8]},
    "cold start": {"cold_start": "item_id"},
}
DEMO: dict[str, dict[str, Any]] = {
    "demo, DCNV2": {"model": "ClickPromptNoPLM", "train_stage": "finetune"},
    "demo, without PLM": {"model": "ClickPromptNoPLM", "pretrain_objectives": ["replaced_item"]},
    "demo, with PLM": {"plm_num_layers": 2, "num_prompts": 1, "train_rows": 4000},
    "demo, no prompts": {"plm_num_layers": 2, "finetune_prompts": False, "train_rows": 4000},
}
DEMO_SETTINGS: dict[str, Any] = {
    "gpu_id": "", "show_progress": False, "epochs": 1, "pretrain_epochs": 1, "pretrain_rows": 4000,
}  # fmt: skip
OLD_DEFAULTS: dict[str, Any] = {"unseen_embeddings": "random"}


def train(dataset: str, settings: dict[str, Any], keep: Path | None) -> dict[str, Any]:
    """Trains a model; returns test metrics, scores of test rows and the digest of every tensor it saved."""
    with nullcontext(keep) if keep else TemporaryDirectory() as folder:
        given = {"model": "ClickPrompt", **OLD_DEFAULTS, **settings, "checkpoint_dir": str(folder)}
        result = run_recbole(dataset=dataset, config_dict=given)
        (file,) = Path(folder).glob("*.pth")
        weights = torch.load(file, weights_only=True)["state_dict"]
        scores = pd.read_parquet(file.with_suffix("") / "predictions.parquet")["score"].tolist()
    digests = {name: hashlib.sha256(weight.numpy().tobytes()).hexdigest()[:16] for name, weight in weights.items()}
    return {"test": dict(result["test_result"]), "tensors": digests, "scores": scores}


def main() -> int:
    """Trains, or compares two files; returns 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="JSON file with the results")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="compare with this file, without training")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the runs, in a new folder")
    parser.add_argument("--rescore", type=Path, metavar="FOLDER", help="score the test rows of kept runs again")
    parser.add_argument("--demo", action="store_true", help="also the models of the demo, on ml-100k")
    options = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole reads the command line of the process
    torch.set_num_threads(1)
    if options.rescore:
        return rescore(options.rescore)
    if not options.file:
        parser.error("the JSON file is missing")
    if options.compare:
        return compare(json.loads(options.compare.read_text()), json.loads(options.file.read_text()))
    kept = {name: options.keep / name if options.keep else None for name in VARIANTS | DEMO}
    found = {name: train("tiny", {**SMALL, **variant}, kept[name]) for name, variant in tqdm(VARIANTS.items())}
    if options.demo:
        found |= {
            name: train("ml-100k", {**DEMO_SETTINGS, **variant}, kept[name])
            for name, variant in tqdm(DEMO.items())
        }
    options.file.write_text(json.dumps(found, indent=1))
    return 0


def rescore(folder: Path) -> int:
    """Scores test rows of kept runs again; returns 1 if a score differs by more than 1e-5, or an AUC by 1e-4."""
    from recbole_clickprompt.host.restore import restore  # not in all versions

    changed = 0
    for run in sorted(path for path in folder.iterdir() if path.is_dir()):
        (file,) = run.glob("*.pth")
        before = pd.read_parquet(file.with_suffix("") / "predictions.parquet").query("split == 'test'")
        restored = restore(file, device=torch.device("cpu"))
        with torch.inference_mode():
            scores = torch.cat([restored.model.predict(batch[0]).float() for batch in restored.test_data]).numpy()
        apart = abs(scores - before["score"]).max()
        auc = [roc_auc_score(before["label"], values) for values in (before["score"], scores)]
        changed += not (apart <= 1e-5 and abs(auc[0] - auc[1]) <= 1e-4)
        print(
            f"{run.name}: scores differ by {apart:.1e} at most; test AUC {auc[0]:.6f} and {auc[1]:.6f}", flush=True
        )
    return int(bool(changed))


def _distance(one: float, other: float) -> float:
    return abs(one - other)


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Prints for each variant whether it is unchanged; returns 1 if any differs."""
    changed = 0
    for name in before.keys() | after.keys():
        one, other = before.get(name, {}), after.get(name, {})
        tensors = [
            key for key in one.get("tensors", {}) if one["tensors"][key] != other.get("tensors", {}).get(key)
        ]
        equal = one == other
        changed += not equal
        apart = max(map(_distance, one.get("scores", []), other.get("scores", [])), default=float("nan"))
        different = (
            f"{len(tensors)} tensors differ; scores by {apart:.1e} at most; "
            f"test {one.get('test')} and {other.get('test')}"
        )
        print(f"{name}: {'equal' if equal else different}")
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())

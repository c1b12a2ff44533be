"""Run folders written by hand, with names and settings that mean harm."""

import pandas as pd
import pytest

from recbole_clickprompt.evaluation.history import write_epochs
from recbole_clickprompt.evaluation.report.build import Extras, build_report
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.evaluation.run_info import write_info
from recbole_clickprompt.evaluation.run_tables import write_counts, write_predictions

EVIL = "<script>window.harm = 1</script><b>bold</b> & 'quoted' \"twice\""
PRETRAIN = [
    {"stage": "pretrain", "epoch": 0, "mlm_loss": 5.5, "mlm_accuracy": 0.2},
    {"stage": "pretrain", "epoch": 1, "mlm_loss": 2.25, "mlm_accuracy": 0.5},
]
FINETUNE = [
    {"stage": "finetune", "epoch": 0, "train_loss": 0.7, "valid_auc": 0.5, "valid_logloss": 0.69},
    {"stage": "finetune", "epoch": 1, "train_loss": 0.6, "valid_auc": 0.75, "valid_logloss": 0.65},
]


def write_run(folder, *, scores, epochs, model, **settings):
    """A finished run on eight test rows: users a and b are trained on often, c once, d never."""
    users, items = ["a", "a", "b", "b", "a", "b", "c", "d"], ["i", "j", "i", "j", "k", "k", "i", "j"]
    labels = [1, 0, 1, 0, 1, 0, 1, 0]
    rows = {"split": "test", "user": users, "item": items, "label": labels, "time": range(8), "score": scores}
    plm = 0.0 if model == "ClickPrompt" else float("nan")
    table = pd.DataFrame(rows).assign(logit_ctr=0.0, logit_plm=plm, fusion_weight=plm)
    write_predictions(folder, table)
    write_counts(
        folder,
        {"user": pd.Series({"a": 9, "b": 8, "c": 1}), "item": pd.Series({"i": 9, "j": 8, "k": 7})},
    )
    write_epochs(folder / "history.jsonl", epochs)
    write_info(
        folder,
        {
            "model": model, "dataset": "tiny", "backbone": "DNN", "seed": 1,
            "settings": {"train_stage": "all", "embedding_size": 8, **settings},
            "command": ["recbole-cp", "run", f"--model={model}", "--text_fields={user_id: the user}"],
            "test_result": {"auc": 0.5, "logloss": 0.7}, "best_valid_score": 0.5,
            "checkpoint": f"{folder.name}.pth", "train_counts": "train_counts.parquet",
        },
    )  # fmt: skip
    return open_run(folder)


@pytest.fixture
def runs(tmp_path):
    return write_runs(tmp_path)


def write_runs(tmp_path):
    """One that is right in 13 of 16 pairs and has a harmless name, and one that is always right and has none."""
    good = write_run(
        tmp_path / "good", scores=[0.9, 0.1, 0.8, 0.3, 0.7, 0.6, 0.2, 0.15], epochs=FINETUNE, model="DNN",
        train_stage="finetune",
    )  # fmt: skip
    best = write_run(
        tmp_path / "best", scores=[0.9, 0.1, 0.8, 0.3, 0.7, 0.4, 0.65, 0.15], epochs=PRETRAIN + FINETUNE,
        model="ClickPrompt", note=EVIL, nested={"r": 8, "</script>": ["<!--", "<script>"]},
    )  # fmt: skip
    return {"plain": good, EVIL: best}


def computed():
    """Latency and attention, as if they had been computed."""
    latency = pd.DataFrame({"run": ["plain", EVIL], "median_ms": [1.5, 30.0], "p95_ms": [2.0, 33.0]})
    attention = pd.DataFrame(
        {"row": 0, "user": "a", "item": EVIL, "field": ["gender", EVIL], "tokens": [1, 3], "prompt_1": [0.75, 0.5],
         "prompt_2": [0.25, 0.5], "on_prompts": [0.1, 0.2]}
    )  # fmt: skip
    return Extras(latency=latency, latency_note="of 128 rows, on a machine", attention={EVIL: attention})


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """The page about both, with all panels."""
    return build_report(write_runs(tmp_path_factory.mktemp("runs")), samples=50, extras=computed())

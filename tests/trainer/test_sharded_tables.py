"""Sharded embedding tables: the training, the metrics and the scores of one process with complete tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from recbole_clickprompt.embeddings.files import MappedRows, tables_folder
from recbole_clickprompt.embeddings.table import sharded_tables
from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.trainer import resume
from recbole_clickprompt.trainer.predictions import predict_split
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.ranks import on_ranks

pytest.importorskip("torchrec", reason="TorchRec is not installed")

ADAGRAD = {
    "train_stage": "finetune",
    "learner": "rowwise_adagrad",
    "learning_rate": 0.05,
    "weight_decay": 0.0,
    "dropout_prob": 0.0,
    "metric_decimal_place": 15,
    "epochs": 2,
}
TORCHREC = {**ADAGRAD, "embedding_engine": "torchrec"}


def build(settings):
    config = Config("ClickPromptNoPLM", "tiny", None, settings)
    init_seed(config["seed"] + config["local_rank"], True)
    data = data_preparation(config, create_dataset(config))
    model = get_model("ClickPromptNoPLM")(config, data[0]._dataset)
    return get_trainer(config["MODEL_TYPE"], "ClickPromptNoPLM")(config, model), data


def train(settings):
    trainer, data = build(settings)
    _, valid = trainer.fit(data[0], data[1], verbose=False)
    return {
        "losses": list(trainer.train_loss_dict.values()),
        "metrics": [*valid.values(), *trainer.evaluate(data[2]).values()],
        "file": trainer.saved_model_file,
    }


@pytest.mark.parametrize("backbone", ["DeepFM"])
def test_two_processes_with_parts_of_the_tables_train_as_one_with_complete_ones(small, backbone):
    settings = {**small, "backbone": backbone}
    (alone,) = on_ranks(train, {**settings, **ADAGRAD, "checkpoint_dir": "alone"}, world=1)
    for rank in on_ranks(train, {**settings, **TORCHREC, "checkpoint_dir": "together"}):
        np.testing.assert_allclose(rank["losses"], alone["losses"], rtol=0, atol=1e-5)
        assert rank["metrics"] == pytest.approx(alone["metrics"], abs=1e-5)


def ended_after(steps, settings):
    """Keeps the state after every step, and ends all ranks in the same one."""
    clock, step, done = iter(range(1_000_000)), TrainingStage.train_batch, []

    def counting(stage, interaction):
        if len(done) == steps:
            raise InterruptedError
        done.append(step(stage, interaction))
        return done[-1]

    resume.monotonic = lambda: 60.0 * next(clock)
    TrainingStage.train_batch = counting
    with pytest.raises(InterruptedError):
        train(settings)


def test_a_run_that_was_ended_resumes_bit_for_bit(small):
    settings = {**small, **TORCHREC, "train_rows": 250, "backbone": "DNN"}
    unbroken = on_ranks(train, {**settings, "checkpoint_dir": "unbroken"})
    broken = {**settings, "checkpoint_dir": "broken", "checkpoint_minutes": 1}
    on_ranks(ended_after, 3, broken)
    (state,) = Path("broken").glob("*.resume")
    assert len(list(tables_folder(state).iterdir())) == 2  # of the last step alone, one per rank
    resumed = on_ranks(train, {**broken, "resume": "auto"})
    for ours, theirs in zip(resumed, unbroken, strict=True):
        assert ours["losses"] == theirs["losses"]
        assert ours["metrics"] == theirs["metrics"]
    assert not list(Path("broken").glob("*.resume*"))


def test_one_process_scores_with_the_tables_that_two_have_written(small):
    settings = {**small, **TORCHREC, "checkpoint_dir": "saved", "epochs": 1}
    (run, _) = on_ranks(train, settings)
    folder = Path(run["file"]).with_suffix("")
    (scores,) = on_ranks(scores_of, run["file"], world=1)
    predictions = pd.read_parquet(folder / "predictions.parquet")
    np.testing.assert_allclose(scores, predictions[predictions["split"] == "test"]["score"], rtol=0, atol=1e-6)


def scores_of(file):
    """Scores of the test rows by a restored run, whose tables stay in their files."""
    run = restore(Path(file), device=torch.device("cpu"))
    assert all(isinstance(table.rows, MappedRows) for _, table in sharded_tables(run.model))
    return predict_split(
        run.model, run.test_data, split="test", device=torch.device("cpu"), enable_amp=False, show_progress=False
    )["score"].to_numpy()

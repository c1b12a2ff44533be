"""Sharded embedding tables: the training, the metrics and the scores of one process with complete tables."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from recbole_clickprompt import distributed
from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.embeddings.files import MappedRows, tables_folder
from recbole_clickprompt.embeddings.table import sharded_tables
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.serving.publish import publish
from recbole_clickprompt.trainer import resume
from recbole_clickprompt.trainer.predictions import predict_split
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.ranks import on_ranks

# The ranks import it, which takes seconds
pytestmark = pytest.mark.skipif(find_spec("torchrec") is None, reason="TorchRec is not installed")

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


@pytest.mark.parametrize(
    ("world", "settings"),
    [
        # Four processes share the 211 rows in batches of 105, of which the last one has a single row
        (4, {"backbone": "DeepFM", "embedding_sharding": "row_wise", "train_batch_size": 105, "train_rows": 211}),
        # Two look-ups of one table in each step
        (2, {"backbone": "DIN", "history_length": 3, "embedding_sharding": "table_wise"}),
    ],
)
def test_processes_with_parts_of_the_tables_train_as_one_with_complete_ones(small, world, settings):
    settings = {**small, **settings, "eval_batch_size": 37}
    complete = {**settings, **ADAGRAD, "embedding_sharding": "auto"}
    (alone,) = on_ranks(train, {**complete, "checkpoint_dir": "alone"}, world=1)
    for rank in on_ranks(train, {**settings, **TORCHREC, "checkpoint_dir": "together"}, world=world):
        np.testing.assert_allclose(rank["losses"], alone["losses"], rtol=0, atol=1e-5)
        assert rank["metrics"] == pytest.approx(alone["metrics"], abs=1e-5)


def first_losses(settings):
    """Of the first steps, and the scores after them."""
    trainer, data = build(settings)
    loaders = {"train_data": data[0], "valid_data": data[1], "all_rows": data[0]}
    trainer.method.begin_finetuning(trainer.config, trainer.model, start=None, **loaders)
    stage = TrainingStage.from_config(
        trainer.config, name="finetune", model=trainer.model, optimizer=trainer.optimizer, steps=4, epochs=1,
        schedule="cosine", warmup_ratio=0.5, enable_amp=False,
    )  # fmt: skip
    trainer.model.train()
    losses = [stage.train_batch(batch) for batch, _ in zip(data[0], range(3), strict=False)]
    with torch.no_grad():
        scores = trainer.model.eval().predict(next(iter(data[1]))[0])
    return [*losses, *scores.tolist()], len(stage.tables)


def all_backbones(settings):
    """For each backbone, the results with complete and with sharded tables, and the number of sharded ones."""
    results = []
    for backbone in BACKBONES:
        history = {"history_length": 3} if backbone == "DIN" else {}
        complete, _ = first_losses({**settings, **ADAGRAD, "backbone": backbone, **history})
        sharded, number = first_losses({**settings, **TORCHREC, "backbone": backbone, **history})
        results.append((backbone, complete, sharded, number))
    return results


def test_every_backbone_trains_with_sharded_tables_as_with_complete_ones(small):
    (results,) = on_ranks(all_backbones, small, world=1)
    assert len(results) == len(BACKBONES)
    for backbone, complete, sharded, number in results:
        assert number >= 2, backbone  # of embeddings and of first-order weights
        np.testing.assert_allclose(sharded, complete, rtol=1e-5, atol=1e-5, err_msg=backbone)


def ended_after(steps, settings, name="train_batch"):
    """Keeps the state after every step, and ends all ranks in the same one."""
    clock, step, done = iter(range(1_000_000)), getattr(TrainingStage, name), []

    def counting(stage, *batch):
        if len(done) == steps:
            raise InterruptedError
        done.append(step(stage, *batch))
        return done[-1]

    resume.monotonic = lambda: 60.0 * next(clock)
    setattr(TrainingStage, name, counting)
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


def test_the_files_of_two_processes_are_read_by_one_and_by_three(small):
    settings = {**small, **TORCHREC, "checkpoint_dir": "saved", "epochs": 1, "init_from_text": ["item_id"]}
    (run, _) = on_ranks(train, settings)
    folder = Path(run["file"]).with_suffix("")
    (scores,) = on_ranks(scores_of, run["file"], world=1)
    predictions = pd.read_parquet(folder / "predictions.parquet")
    np.testing.assert_allclose(scores, predictions[predictions["split"] == "test"]["score"], rtol=0, atol=1e-6)
    with pytest.raises(WeightsError, match="a run with embedding_engine: torchrec cannot be published"):
        publish(folder, Path("published"))
    assert not Path("published").exists()
    for metrics in on_ranks(metrics_of, settings, run["file"], world=3):
        assert metrics == pytest.approx(run["metrics"][-len(metrics) :], abs=1e-6)
    (tables_folder(Path(run["file"]))).rename("elsewhere")
    with pytest.raises(
        WeightsError, match=r"no such file; a checkpoint with sharded tables is complete only with"
    ):
        scores_of(run["file"])


def metrics_of(settings, file):
    """Test metrics with the tables of a file, of which each rank loads its own rows."""
    trainer, data = build(settings)
    trainer.load_best(file)
    return list(trainer.evaluate(data[2], load_best_model=False).values())


def scores_of(file):
    """Scores of the test rows by a restored run, whose tables stay in their files."""
    run = restore(Path(file), device=torch.device("cpu"))
    assert all(isinstance(table.rows, MappedRows) for _, table in sharded_tables(run.model))
    return predict_split(
        run.model, run.test_data, split="test", device=torch.device("cpu"), enable_amp=False, show_progress=False
    )["score"].to_numpy()


def after_a_failure(settings):
    """What ends this rank when rank 1 fails in its second step, which then closes its connections."""
    step, done = TrainingStage.train_batch, []

    def failing(stage, interaction):
        done.append(step(stage, interaction))
        if len(done) == 2 and distributed.current().rank == 1:
            dist.destroy_process_group()
            raise OSError("the disk is on fire")
        return done[-1]

    TrainingStage.train_batch = failing
    with pytest.raises((OSError, RuntimeError)) as caught:
        train(settings)
    distributed._group = distributed.ProcessGroup()  # nothing to wait for
    return str(caught.value)


def test_a_rank_that_fails_ends_the_others(small):
    first, second = on_ranks(after_a_failure, {**small, **TORCHREC, "epochs": 500})
    assert "Connection" in first  # closed or reset by peer
    assert second == "the disk is on fire"

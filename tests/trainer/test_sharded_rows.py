"""Training on rows that processes share: every row once, exact gradients and metrics, files as of one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_clickprompt.distributed import ProcessGroup
from recbole_clickprompt.evaluation.run_tables import read_counts
from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.trainer.own_rows import OwnRows
from recbole_clickprompt.trainer.predictions import predict_split
from tests.ranks import on_ranks
from tests.trainer.test_sharded_tables import ADAGRAD, ended_after, metrics_of, train

SHARED = {**ADAGRAD, "row_sharding": "user", "baselines": False}
AT_RANDOM = {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"}


class Part:
    """Some rows of a part of the split, whose sizes in all processes are known."""

    class Group(ProcessGroup):
        sizes: tuple[int, ...] = ()

        def all_gather(self, value):
            return [*self.sizes]

    def __init__(self, sizes, rank):
        self.row_group = self.Group(rank=rank, world=len(sizes))
        self.row_group.sizes = sizes
        self.size = sizes[rank]

    def __len__(self):
        return self.size

    def __getitem__(self, rows):
        return rows.tolist()


@pytest.mark.parametrize("sizes", [(10, 5), (1, 40, 9), (7,), (0, 3)])
def test_processes_pass_through_their_rows_once_in_step(sizes):
    for rank, size in enumerate(sizes):
        own = OwnRows(Part(sizes, rank), 6)
        counts = [own.counts(number) for number in range(len(own))]
        rows = [row for number, batch in enumerate(counts) if batch[rank] for row in own.read(number)]
        assert rows == list(range(size))
        assert len(own) == -(-sum(sizes) // 6)
        assert all(abs(sum(batch) - 6) < len(sizes) for batch in counts[:-1])
    if len(sizes) == 1:
        assert counts == [(6,), (1,)]


@pytest.mark.parametrize(
    ("world", "settings"),
    [
        (2, {"backbone": "DIN", "history_length": 3, "embedding_engine": "torchrec"}),
        (3, {"backbone": "DeepFM", "eval_args": AT_RANDOM, "metrics": ["AUC", "LogLoss", "GAUC"]}),
    ],
)
def test_with_all_rows_in_a_batch_processes_train_as_one(small, world, settings):
    """Neither gradients nor metrics nor the order of predictions depend on which process has a row."""
    settings = {**small, **settings, **SHARED, "train_batch_size": 2000, "eval_batch_size": 37, "epochs": 3}
    alone = {**settings, "row_sharding": "none", "checkpoint_dir": "alone"}
    (one,) = on_ranks(train, alone, world=1)
    ranks = on_ranks(train, {**settings, "checkpoint_dir": "together"}, world=world)
    for rank in ranks:
        np.testing.assert_allclose(rank["losses"], one["losses"], rtol=0, atol=1e-5)
        assert rank["metrics"] == pytest.approx(one["metrics"], abs=1e-5)
    ours, theirs = (Path(run["file"]).with_suffix("") for run in (ranks[0], one))
    found, expected = (pd.read_parquet(folder / "predictions.parquet") for folder in (ours, theirs))
    keys = ["user", "item", "label", "time", "split"]
    pd.testing.assert_frame_equal(found[keys], expected[keys])
    np.testing.assert_allclose(found["score"], expected["score"], rtol=0, atol=1e-5)
    counts, expected = (read_counts(folder / "train_counts.parquet") for folder in (ours, theirs))
    key = ["kind", "token"]
    pd.testing.assert_frame_equal(*(t.sort_values(key, ignore_index=True) for t in (counts, expected)))


@pytest.mark.parametrize("engine", ["torch", "torchrec"])
def test_a_run_of_two_processes_is_repeatable_and_read_by_one(small, engine):
    settings = {**small, **SHARED, "embedding_engine": engine, "backbone": "DNN", "epochs": 1}
    # Two rows per batch: with unequal shares, a process has none of some batches
    settings |= {"train_batch_size": 2, "eval_batch_size": 2, "val_interval": {"timestamp": "[0,1000000200]"}}
    first = on_ranks(train, {**settings, "checkpoint_dir": "first"})
    again = on_ranks(train, {**settings, "checkpoint_dir": "again"})
    for ours, theirs in zip(first, again, strict=True):
        assert ours["losses"] == theirs["losses"] == first[0]["losses"]
        assert ours["metrics"] == theirs["metrics"] == first[0]["metrics"]
    (metrics,) = on_ranks(metrics_of, settings, first[0]["file"], world=1)
    assert first[0]["metrics"][-len(metrics) :] == pytest.approx(metrics, abs=1e-6)
    (scores,) = on_ranks(scores_of, first[0]["file"], world=1)
    predictions = pd.read_parquet(Path(first[0]["file"]).with_suffix("") / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    pd.testing.assert_frame_equal(scores[["user", "item"]], test[["user", "item"]].reset_index(drop=True))
    np.testing.assert_allclose(scores["score"], test["score"], rtol=0, atol=1e-6)


def scores_of(file):
    run = restore(Path(file), device=torch.device("cpu"))
    return predict_split(
        run.model, run.test_data, split="test", device=torch.device("cpu"), enable_amp=False, show_progress=False
    )


def test_a_run_that_was_ended_resumes_bit_for_bit(small):
    settings = {**small, **SHARED, "backbone": "DNN", "dropout_prob": 0.2, "train_batch_size": 300}
    unbroken = on_ranks(train, {**settings, "checkpoint_dir": "unbroken"})
    broken = {**settings, "checkpoint_dir": "broken", "checkpoint_minutes": 1}
    on_ranks(ended_after, 3, broken, "train_own_rows")
    (state,) = Path("broken").glob("*.resume")
    resumed = on_ranks(train, {**broken, "resume": "auto"})
    for ours, theirs in zip(resumed, unbroken, strict=True):
        assert ours["losses"] == theirs["losses"]
        assert ours["metrics"] == theirs["metrics"]
    assert not state.exists()


def test_a_single_process_trains_as_without_the_setting(small):
    settings = {**small, **SHARED, "backbone": "DNN", "epochs": 1}
    alone, shared = train({**settings, "row_sharding": "none"}), train(settings)
    assert shared["losses"] == alone["losses"]
    assert shared["metrics"] == alone["metrics"]

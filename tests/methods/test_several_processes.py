"""Methods train on several processes as on one, also where a loss couples all rows of a batch."""

from pathlib import Path

import numpy as np
import pytest

from tests.methods.p5.t5 import save_random_t5
from tests.ranks import on_ranks
from tests.trainer.test_data_parallel import NO_DROPOUT, train

# 147 rows: a batch of 49 leaves a part of one row, of which a rank has none
ROWS = {"train_rows": 147, "pretrain_rows": 147, "pretrain_batch_size": 49, "train_batch_size": 49}
SETTINGS = {
    **NO_DROPOUT,
    **ROWS,
    "head_dropout": 0.0,
    "pretrain_head_dropout": 0.0,
    "micro_batch_size": 16,
    "eval_batch_size": 37,
    "epochs": 1,
}


@pytest.mark.parametrize("model", ["CTRBERT", "CTRL", "FLIP", "P5"])
def test_several_processes_train_as_one(small, model):
    settings = {**small, **SETTINGS, "backbone": "DCNV2", "plm_num_layers": 1}
    if model == "CTRBERT":
        settings |= {"tabular": True, "plm_learning_rate": 1e-3}
    if model == "P5":
        settings |= {"plm": str(save_random_t5(Path("random-t5").absolute())), "plm_num_layers": None}
    (alone,) = on_ranks(train, model, {**settings, "checkpoint_dir": "alone"}, world=1)
    together = on_ranks(train, model, {**settings, "checkpoint_dir": "together"}, world=2)
    for rank in together:
        for curve in ("pretraining", "finetuning"):
            np.testing.assert_allclose(rank[curve], alone[curve], rtol=0, atol=1e-5)
        assert rank["metrics"] == pytest.approx(alone["metrics"], abs=1e-5)
        assert rank["metrics"] == together[0]["metrics"]
        for name, weight in rank["weights"].items():
            assert np.array_equal(weight, together[0]["weights"][name]), name

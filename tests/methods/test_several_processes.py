"""Methods train on several processes as on one, also where a loss couples all rows of a batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_clickprompt import distributed
from recbole_clickprompt.host.distributed import _join
from recbole_clickprompt.methods.print_repaired.relevance import balance
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


OWN = {
    "CTRBERT": {"tabular": True, "plm_learning_rate": 1e-3},
    "CTRL": {},
    "FLIP": {},
    "P5": {"plm_num_layers": None},
    "KAR": {},
    "QARMLike": {"codebook_size": 4},
    "LLaCTR": {"plm_lora": {"r": 4}, "pretrain_epochs": 1},  # without dropout
    "SuKDLike": {"plm_num_layers": 2, "student_layers": 1},
    "NumBERTLike": {},
    "BERT4CTRLike": {},
    "CharMatchLike": {"char_channels": 4, "max_characters": 32},
}


@pytest.mark.parametrize("model", OWN)
def test_several_processes_train_as_one(small, model):
    settings = {**small, **SETTINGS, "backbone": "DCNV2", "plm_num_layers": 1, **OWN[model]}
    if model == "P5":
        settings["plm"] = str(save_random_t5(Path("random-t5").absolute()))
    (alone,) = on_ranks(train, model, {**settings, "checkpoint_dir": "alone"}, world=1)
    together = on_ranks(train, model, {**settings, "checkpoint_dir": "together"}, world=2)
    for rank in together:
        for curve in ("pretraining", "finetuning"):
            np.testing.assert_allclose(rank[curve], alone[curve], rtol=0, atol=1e-5)
        # Equal texts have equal scores but for rounding, which decides on the order of some rows
        tolerance = 1e-3 if model == "CharMatchLike" else 1e-5
        assert rank["metrics"] == pytest.approx(alone["metrics"], abs=tolerance)
        assert rank["metrics"] == together[0]["metrics"]
        for name, weight in rank["weights"].items():
            assert np.array_equal(weight, together[0]["weights"][name]), name


def balanced():
    """The loss of the balance of incentives, and its gradient, for six rows that the ranks share."""
    _join(torch.device("cpu"))
    return of_balance()


def of_balance():
    group = distributed.current()
    scores = torch.linspace(-1, 2, 18).reshape(6, 3)[group.rank :: group.world].clone().requires_grad_()
    loss = balance(scores.softmax(1)) / group.world  # each rank has the same share of the rows
    loss.backward()
    return group.world * loss.item(), scores.grad.numpy()


def test_incentives_are_balanced_over_the_rows_of_all_processes():
    loss, gradient = of_balance()
    for rank, (theirs, part) in enumerate(on_ranks(balanced)):
        assert theirs == pytest.approx(loss, abs=1e-6)
        np.testing.assert_allclose(part, gradient[rank::2], atol=1e-6)

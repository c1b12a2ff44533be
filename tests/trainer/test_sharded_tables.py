"""Sharded embedding tables: the training, the metrics and the scores of one process with complete tables."""

from __future__ import annotations

import numpy as np
import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

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

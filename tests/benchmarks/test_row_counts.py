"""Counts of rows as a baseline: on ``tiny``, compared with counting by hand."""

import re

import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from sklearn.metrics import roc_auc_score

from benchmarks.row_counts import main
from tests.conftest import ROOT

TINY = ["--dataset=tiny", f"--data_path={ROOT / 'dataset_atomic'}", "--gpu_id="]


def test_the_first_score_is_the_number_of_training_rows_of_the_item(capsys):
    assert main([*TINY, "--seeds", "2", "3", "--train_rows=100"]) == 0
    out = capsys.readouterr().out
    (shown,) = re.findall(r"\| rows of the item \| 2 \| (0\.\d{4}) ± 0\.0000 \|", out)
    settings = {
        "model": "ClickPromptNoPLM",
        "dataset": "tiny",
        "data_path": str(ROOT / "dataset_atomic"),
        "gpu_id": "",
    }
    config = Config(config_dict=settings)
    train, _, test = (loader._dataset for loader in data_preparation(config, create_dataset(config)))
    items = train.inter_feat["item_id"].tolist()
    scores = [items.count(item) for item in test.inter_feat["item_id"].tolist()]
    assert float(shown) == pytest.approx(roc_auc_score(test.inter_feat["label"], scores), abs=5e-5)
    assert re.search(r"\| rows of item and user \| 2 \| 0\.\d{4} ± 0\.(?!0000)\d{4} \|", out)  # other labels


def test_more_labels_than_rows_are_refused(capsys):
    assert main([*TINY, "--train_rows=100000"]) == 2
    assert "train_rows is 100000, but there are only" in capsys.readouterr().err

"""Runs on a sample of KDD Cup 2012, whose tokens ``plm: hashed`` reads."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole
from recbole.utils import init_seed

from recbole_clickprompt.data.convert.catalog import prepare
from recbole_clickprompt.evaluation.metrics import auc
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.plm.hashed import NUM_BUCKETS
from recbole_clickprompt.serving import load_model
from tests.conftest import SMALL
from tests.data.convert.lookalike import kdd2012

TEXTS = ["title", "query"]
SETTINGS = {
    **SMALL,
    "plm": "hashed",
    "plm_num_layers": 1,
    "plm_pooling": "avg",
    "mlm_candidates": "data",
    "learning_rate": 1e-2,
    "plm_learning_rate": 1e-3,
    "epochs": 3,
    "load_col": {"inter": ["user_id", "ad_id", "click", *TEXTS], "user": ["user_id"]},
    "text_fields": {name: name for name in TEXTS},
    "text_only_fields": TEXTS,
    "value_labels": {},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of the user that the tests of this file share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield patch


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The folder of data sets with a small ``kdd2012``."""
    out = tmp_path_factory.mktemp("kdd2012")
    prepare("kdd2012", kdd2012(out / "raw", rows=14_000), out)
    return str(out)


def test_every_field_of_the_property_file_is_read(sample, cache):
    config = Config("PTab", "kdd2012", None, {**SMALL, "plm": "hashed", "data_path": sample})
    train = data_preparation(config, create_dataset(config))[0]._dataset
    table, tokenizer = train.token_table("hashed"), train.tokenizer("hashed")
    input_ids, lengths = table(train[torch.arange(50)])
    assert tokenizer.unk_token_id not in input_ids
    rows = train[torch.arange(50)]
    for row in range(50):
        pieces = " ".join(tokenizer.convert_ids_to_tokens(input_ids[row, : lengths[row]]))
        for name, field in config["text_fields"].items():
            value = train.id2token(name, int(rows[name][row]))
            if name in (*TEXTS, "keyword", "description") and value != "[PAD]":
                assert f"{field} is {value} ." in pieces
        assert f"ad id is {int(train.id2token('ad_id', int(rows['ad_id'][row]))) % NUM_BUCKETS} ." in pieces


def run(model, sample, **changed):
    """Trains on the sample; returns the checkpoint and its test predictions."""
    before = set(Path("saved").glob("*.pth"))
    run_recbole(model=model, dataset="kdd2012", config_dict={**SETTINGS, "data_path": sample, **changed})
    (checkpoint,) = set(Path("saved").glob("*.pth")) - before
    return checkpoint, open_run(checkpoint).predictions("test")


def raw_test_rows(model, sample):
    """The test rows as a user would give them to ``predict``; None is a missing value."""
    config = Config(model, "kdd2012", None, {**SETTINGS, "data_path": sample})
    init_seed(config["seed"], config["reproducibility"])  # as before the split of the run
    test = data_preparation(config, create_dataset(config))[2]._dataset
    fields = set(config["load_col"]["inter"]) - {"click"}
    tokens = {field: test.id2token(field, test.inter_feat[field]) for field in fields}
    return pd.DataFrame(tokens).replace("[PAD]", None)


@pytest.mark.parametrize("model", ["ClickPrompt", "PTab"])
def test_a_run_learns_from_hashed_tokens_and_is_served(model, sample, cache, tmp_path, monkeypatch):
    checkpoint, table = run(model, sample)
    assert open_run(checkpoint).history()["stage"].unique().tolist() == ["pretrain", "finetune"]
    scores, labels = table["score"].to_numpy(), table["label"].to_numpy()
    assert auc(labels, scores) > 0.7
    # On a machine without the folder in its cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = raw_test_rows(model, sample)
    np.testing.assert_allclose(load_model(checkpoint).predict(rows), scores, atol=1e-6)
    words = rows.assign(title="100000 20000 3", query="7")  # no row has them
    assert not np.allclose(load_model(checkpoint).predict(words), scores, atol=1e-4)


def test_equal_seeds_give_equal_runs(sample, cache):
    short = {"epochs": 1, "train_rows": 200, "train_stage": "finetune"}
    first, second = (run("PTab", sample, seed=3, **short)[1] for _ in range(2))
    np.testing.assert_array_equal(first["score"], second["score"])

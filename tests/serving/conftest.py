"""Finetuned models on ``tiny``, and its rows as raw tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer

from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.scaling import Scale
from recbole_clickprompt.preprocessing.schema import Field
from recbole_clickprompt.serving import score
from recbole_clickprompt.serving.columns import check_columns, with_field_names
from recbole_clickprompt.serving.rows import Counts, RowEncoder
from recbole_clickprompt.trainer.stage import autocast
from tests.conftest import ROOT


class TrainedRun(NamedTuple):
    """A checkpoint, the raw rows of its test part and the scores that its trainer gave them."""

    checkpoint: Path
    rows: pd.DataFrame
    scores: np.ndarray


def atomic(source: str) -> pd.DataFrame:
    """A file of ``tiny`` as text, missing values None."""
    path = ROOT / "dataset_atomic" / "tiny" / f"tiny.{source}"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3).replace("", None)
    return table.rename(columns=lambda name: name.partition(":")[0])


def with_features(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the features of their users and items beside them."""
    return rows.merge(atomic("user"), on="user_id", how="left").merge(atomic("item"), on="item_id", how="left")


def field(name: str, kind: str, scale: Scale | None = None, width: int = 1) -> Field:
    """A field of rows that a backbone reads."""
    return Field(name, kind, "inter", 3, width, feature=True, unsplit=False, scale=scale)


def preprocessing_of(*fields: Field) -> Preprocessing:
    """Two users and two items, ``a`` and ``b``, with no features but those of rows."""
    ids = [Field(name, "token", name, 3, 1, True, False, None) for name in ("user_id", "item_id")]
    vocabulary = {f.name: np.array(["[PAD]", "a", "b"], dtype=object) for f in (*ids, *fields) if f.scale is None}
    return Preprocessing(
        dataset="x", user="user_id", item="item_id", seq_separator=" ", ignored=[],
        fields={f.name: f for f in (*ids, *fields)}, vocabulary=vocabulary, tables={}, text=None,
    )  # fmt: skip


def assert_script_agrees(folder: Path, rows: pd.DataFrame) -> None:
    """Checks that the script of an export reads rows, as text, exactly as ``recbole-cp predict`` does."""
    rows = rows.fillna("").astype(str)
    table = pa.Table.from_pandas(rows.replace("", None), preserve_index=False)
    model, preprocessing = score.Model(folder), Preprocessing.load(folder)
    fields = check_columns(preprocessing, table.column_names, source="rows")
    expected = RowEncoder(preprocessing)(with_field_names(table, fields), Counts())
    names = model.names(list(rows))
    assert dict(zip(rows, names, strict=True)) == {name: fields.get(name) for name in rows}
    found = model.columns(
        [{n: v for n, v in zip(names, row, strict=True) if n} for row in rows.to_numpy().tolist()]
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.fixture(scope="session")
def train(make_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trains a small model for an epoch: model's name and settings to a ``TrainedRun``."""

    def run(model: str, **settings: Any) -> TrainedRun:
        folder = tmp_path_factory.mktemp("run")
        config = make_config(
            model, train_stage="finetune", epochs=1, checkpoint_dir=str(folder), learning_rate=0.01, **settings
        )
        train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
        torch.manual_seed(0)
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, get_model(model)(config, train_data._dataset))
        trainer.fit(train_data, valid_data)
        trainer.evaluate(test_data)
        test = test_data._dataset
        trainer.model.eval()
        with torch.no_grad(), autocast(config["device"], config["enable_amp"]):
            scores = torch.cat([trainer.model.predict(batch[0]) for batch in test_data]).float().numpy()
        rows = {
            name: [None if token == "[PAD]" else token for token in test.id2token(name, test.inter_feat[name])]
            for name in ("user_id", "item_id", "device")
        }
        return TrainedRun(Path(trainer.saved_model_file), pd.DataFrame(rows), scores)

    return run


@pytest.fixture(scope="session")
def with_plm(train: Any) -> TrainedRun:
    """ClickPrompt; years are numbers that its backbone reads."""
    return train("ClickPrompt", numerical_features=["year"], normalize_field=["year"])


@pytest.fixture(scope="session")
def without_plm(train: Any) -> TrainedRun:
    """ClickPromptNoPLM on another backbone."""
    return train("ClickPromptNoPLM", backbone="DeepFM")

"""A model of a data set that ``from-table`` made scores rows with the columns of the user's own table."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recbole.quick_start import run_recbole

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.preprocessing.schema import Field
from recbole_clickprompt.serving.columns import check_columns
from recbole_clickprompt.serving.load import load_model
from tests.serving.conftest import assert_script_agrees, preprocessing_of

GENRES = ["Science Fiction", "Drama", "War"]


def table():
    draw = random.Random(0)
    items = {n: (f"Title no. {n}", ", ".join(draw.sample(GENRES, 2))) for n in range(40)}
    rows = []
    for n in range(600):
        item = draw.randrange(40)
        revenue = str(draw.choice([1, -1]) * round(draw.lognormvariate(2, 3), 4)) if n % 9 else "NA"
        mood = "; ".join(draw.sample(["very good", "bad", "so so"], 2))
        rows.append(
            [f"c{draw.randrange(30)}", f"s{item}", *items[item], revenue, mood, draw.randrange(2), n, n % 3]
        )
    columns = ["customer", "sku", "Product name", "genre", "revenue", "mood", "bought", "when", "session"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def run(tiny_bert, tmp_path_factory):
    """The folder of a run on the table, and the table."""
    from tests.conftest import SMALL

    folder = tmp_path_factory.mktemp("own")
    rows = table()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        rows.to_csv("clicks.csv", index=False)
        arguments = ["--user=customer", "--item=sku", "--label=bought", "--time=when", "--name=shop"]
        features = ["--list=genre=,", "--list=mood=; ", "--drop=session"]
        assert main(["from-table", "clicks.csv", *arguments, *features]) == 0
        settings = {**SMALL, "plm": str(tiny_bert), "train_stage": "finetune", "checkpoint_dir": "saved"}
        run_recbole(model="ClickPrompt", dataset="shop", config_dict={**settings, "data_path": "dataset_atomic"})
        (checkpoint,) = Path("saved").glob("*.pth")
    return folder / checkpoint, rows


def test_the_table_itself_gets_the_scores_of_the_run(run):
    checkpoint, rows = run
    rows.to_csv("rows.csv", index=False)
    assert main(["predict", str(checkpoint), "rows.csv", "-o", "scores.csv", "--keep=Product name"]) == 0
    scores = pd.read_csv("scores.csv")
    assert list(scores) == ["customer", "sku", "Product name", "score"]
    expected = open_run(checkpoint).predictions("test")["score"]
    np.testing.assert_allclose(scores["score"].tail(len(expected)), expected, atol=1e-6, rtol=0)


def test_values_of_new_items_are_read_as_in_the_table(run):
    checkpoint, rows = run
    model = load_model(checkpoint, "cpu")
    own = rows.head(1).assign(sku="new").drop(columns=["session", "bought"])
    atomic = own.rename(
        columns={"customer": "user_id", "sku": "item_id", "Product name": "Product_name", "when": "timestamp"}
    ).assign(genre=own["genre"].str.replace(", ", "|"), mood=own["mood"].str.replace("; ", "|"))
    assert model.predict(own) == model.predict(atomic)
    assert model.predict(own) != model.predict(own.assign(genre="War", mood="bad"))


@pytest.mark.slow
def test_the_script_of_an_export_accepts_the_table(run, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    checkpoint, rows = run
    monkeypatch.chdir(checkpoint.parents[1])  # with the data set, on which an export is compared
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "out")]) == 0
    monkeypatch.chdir(tmp_path)
    rows.to_csv("rows.csv", index=False)
    answer = subprocess.run(
        [sys.executable, "out/score.py", "rows.csv"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    expected = open_run(checkpoint).predictions("test")["score"]
    scores = [float(line) for line in answer.stdout.split()]
    np.testing.assert_allclose(scores[-len(expected) :], expected, atol=1e-5, rtol=0)
    assert_script_agrees(tmp_path / "out", rows.head(40).assign(sku="new"))


def test_logarithms_are_scaled_for_the_backbone_and_texts_have_the_numbers(run):
    scale = load_model(run[0], "cpu").preprocessing.fields["revenue"].scale
    numbers = pd.to_numeric(run[1]["revenue"], errors="coerce").to_numpy()
    logs = np.sign(numbers) * np.log1p(np.abs(numbers))
    assert scale.log
    assert (scale.low, scale.high) == (pytest.approx(np.nanmin(logs)), pytest.approx(np.nanmax(logs)))
    assert scale.missing == pytest.approx(np.nanmean(logs))
    expected = (np.where(np.isnan(logs), np.nanmean(logs), logs) - scale.low) / (scale.high - scale.low)
    np.testing.assert_allclose(scale.scaled(numbers), expected)


OWN = {"customer": "user_id", "sku": "item_id", "user_id": None, "label": "label_column"}


def columns_of(names, own=OWN):
    fields = [Field("label_column", "token", "inter", 3, 1, feature=True, unsplit=False, scale=None)]
    made = preprocessing_of(*fields)
    made.column_names.update(own)
    return check_columns(made, names, source="x.csv")


def test_columns_are_those_of_the_table_or_the_fields():
    own = columns_of(["customer", "sku", "user_id", "label"])
    assert own == {"customer": "user_id", "sku": "item_id", "label": "label_column"}
    assert columns_of(fields := ["user_id", "item_id", "label_column"]) == dict(zip(fields, fields, strict=True))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["customer", "item_id", "label_column"],
            "has the column 'customer', but no 'sku'; give both, or the fields",
        ),
        (["user_id", "item_id", "seller"], "has a column 'seller', which is not a field of x"),
        (["item_id", "label_column"], "has no column 'user_id', the ids of a row, or 'customer'"),
        (
            ["customer", "sku", "label", "label_column"],
            "has the columns 'label', 'label_column', all of which are",
        ),
    ],
)
def test_columns_of_neither_are_told(names, message):
    with pytest.raises(DataError, match=message):
        columns_of(names)

"""The benchmark of click histories and the table of subsets, on ``tiny``."""

import json
import re

import numpy as np
import pandas as pd

from benchmarks import history, history_subsets
from recbole_clickprompt.evaluation import seeds


def test_it_compares_steps_with_and_without_history_and_with_recbole(small, capfd):
    settings = [f"--{key}={json.dumps(value)}" for key, value in small.items() if key not in ("plm", "dataset")]
    options = ["--dataset=tiny", "--rows=1000", "--length=3", "--batch=64", "--rounds=1"]
    assert history.main([*options, *settings]) == 0
    lines = capfd.readouterr().out.splitlines()
    cells = dict(line.strip("| ").split(" | ") for line in lines if " | " in line)
    assert "peak" in cells["its process"]
    assert cells["log of 1,000 rows"].endswith("s CPU time")
    ratios = [cells[f"DCNv2, {kind} clicks"] for kind in ("mean of 1", "mean of 3", "attention of 3")]
    assert all(re.fullmatch(r"\d+\.\d\dx", ratio) for ratio in [*ratios, cells["DIN compared with RecBole's"]])
    assert history.main(["--rounds=0"]) == 2
    assert "--rounds must be 1 or more, got 0" in capfd.readouterr().err


def test_new_users_are_divided_by_their_earlier_rows():
    rows = [("valid", "new", 1), ("valid", "new", 2), ("test", "new", 2), ("test", "known", 5), ("test", "new", 3)]
    predictions = pd.DataFrame(rows, columns=["split", "user", "time"])
    earlier = history_subsets.earlier_rows(predictions)
    assert earlier.tolist() == [1, 0, 3]  # rows of equal time are not earlier
    counts = pd.DataFrame({"kind": ["user"], "token": ["known"], "rows": [7]})
    test = predictions[predictions["split"] == "test"]
    masks = history_subsets.subsets(test, counts, earlier)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {
        "all": [0, 1, 2],
        "known users": [1],
        "new users with 0 earlier clicks": [],
        "new users with 1 to 4 earlier clicks": [0, 2],
        "new users with 5 to 19 earlier clicks": [],
        "new users with 20 or more earlier clicks": [],
    }


def test_the_share_of_likes_is_that_of_strictly_earlier_rows():
    rows = [("a", 1, 1), ("a", 2, 1), ("a", 2, 0), ("a", 3, 0), ("b", 2, 1)]
    shares = history_subsets.with_earlier_likes(pd.DataFrame(rows, columns=["user", "time", "label"]))["share"]
    np.testing.assert_allclose(np.exp(shares), [4, 5, 5, 6 / 2, 4])


def test_the_tables_have_every_run(capsys, tmp_path, monkeypatch):
    users = [f"new {number % 3}" for number in range(60)] + ["known"] * 3
    columns = {"split": ["valid", "test"] * 30 + ["test"] * 3, "user": users, "item": "a", "time": range(63)}
    labels = np.arange(63) // 2 % 2

    class Run:
        def __init__(self, path):
            self.path = path

        def predictions(self, split=None):
            scores = 0.5 + (labels - 0.5) * (0.8 if self.path == "good" else -0.8) * np.linspace(0.9, 1, 63)
            table = pd.DataFrame({**columns, "label": labels, "score": scores})
            return table if split is None else table[table["split"] == split].reset_index(drop=True)

        def train_counts(self):
            return pd.DataFrame({"kind": ["user"], "token": ["known"], "rows": [2]})

    for module in (history_subsets, seeds):
        monkeypatch.setattr(module, "open_run", lambda path: Run(str(path)))
    results = tmp_path / "results.csv"
    pd.DataFrame({"run": ["bad", "good"], "seed": 1, "checkpoint": ["bad", "good"]}).to_csv(results, index=False)
    assert history_subsets.main([str(results), "--baseline=good"]) == 0
    subsets, likes = (table.splitlines()[2:] for table in capsys.readouterr().out.split("\n\n"))
    assert [line.split(" | ")[2] for line in subsets] == ["0.0000 (-100.0 %)", "1.0000"]
    assert [line.split(" | ")[1] for line in likes] == ["0.0000", "1.0000"]
    assert [line.split(" | ")[3] for line in likes] == ["1.0000", "1.0000"]  # the regression turns scores around
    assert history_subsets.main([str(results), "--baseline=none"]) == 2
    assert "--baseline must be one of bad, good, got 'none'" in capsys.readouterr().err

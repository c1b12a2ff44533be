"""The benchmark of click histories and the table of subsets, on ``tiny``."""

import json
import re

import numpy as np
import pandas as pd

from benchmarks import history, history_subsets


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

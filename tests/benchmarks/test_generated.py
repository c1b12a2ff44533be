"""Generated tables become data sets by the command that is printed, and their labels depend on what they show."""

import shlex

import numpy as np
import pandas as pd
import pytest

from benchmarks.generated import GENERATED, main
from recbole_clickprompt.__main__ import main as recbole_cp


@pytest.mark.parametrize("name", GENERATED)
def test_the_printed_command_makes_a_data_set(name, capsys):
    assert main([name, "--rows=600", "--seed=3"]) == 0
    program, *command = shlex.split(capsys.readouterr().out)
    assert program == "recbole-cp"
    assert recbole_cp(command) == 0
    assert "rows: 600 read, 600 written" in capsys.readouterr().out


@pytest.mark.parametrize("name", GENERATED)
def test_tables_depend_on_the_seed_alone(name):
    first, again, other = (GENERATED[name](300, seed) for seed in (1, 1, 2))
    for one, same in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one, same)
    assert not first[0].equals(other[0])
    assert first[0]["time"].is_monotonic_increasing


def test_labels_follow_users_prices_and_topics():
    rows, users, items = GENERATED["shop"](20_000, 1)
    rows = rows.merge(users, on="user").merge(items, on="item")
    young = rows[rows["age"] < 30]
    cheap = young["price"] < young["price"].median()
    assert young.loc[cheap, "click"].mean() - young.loc[~cheap, "click"].mean() > 0.05
    rows, _, items = GENERATED["articles"](20_000, 1)
    per_user = rows.groupby("user")["click"].agg(["mean", "size"])
    assert np.average((per_user["mean"] - rows["click"].mean()) ** 2, weights=per_user["size"]) ** 0.5 > 0.2
    # the newest tenth of the rows shows items that earlier rows do not
    earlier = set(rows["item"][:18_000])
    assert rows["item"][18_000:].isin(earlier).mean() < 0.3

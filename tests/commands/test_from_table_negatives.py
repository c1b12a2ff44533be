"""``recbole-cp from-table --sample-negatives``: tables of clicks without labels."""

import json
import random
import shutil
from pathlib import Path

import polars as pl
import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.data.convert import csv_blocks, negatives
from recbole_clickprompt.data.convert.negatives import NegativeSampler
from recbole_clickprompt.host.properties import read_yaml

ARGUMENTS = ["--user=user", "--item=item", "--name=shop"]


def clicks(rows=800, users=25, items=60):
    """Clicks in the order of time; item n appears from time n on."""
    draw = random.Random(0)
    drawn = [draw.randrange(min(items, 2 + n // 10)) for n in range(rows)]
    return pl.DataFrame(
        {
            "user": [f"u{draw.randrange(users)}" for _ in range(rows)],
            "item": [f"i{item}" for item in drawn],
            "kind": [f"kind {item % 5}" for item in drawn],
            "when": [1_600_000_000 + n for n in range(rows)],
            "device": [draw.choice(["phone", "desk"]) for _ in range(rows)],
        }
    )


def convert(frame, *arguments):
    frame.write_csv("clicks.csv")
    return main(["from-table", "clicks.csv", *ARGUMENTS, *arguments])


def written():
    return pl.read_csv("dataset_atomic/shop/shop.inter", separator="\t", infer_schema=False)


def test_negatives_are_items_that_were_known_and_the_user_never_clicked(capsys):
    frame = clicks()
    assert convert(frame, "--time=when", "--sample-negatives=3") == 0
    out = capsys.readouterr().out
    rows = written()
    clicked = set(frame.select("user", "item").rows())
    first = dict(frame.group_by("item").agg(pl.col("when").min()).rows())
    positive, negative = (rows.filter(pl.col("label:float") == label) for label in ("1.0", "0.0"))
    assert positive.select("user_id:token", "item_id:token").rows() == frame.select("user", "item").rows()
    assert len(negative) > 2000
    for user, item, when in negative.select("user_id:token", "item_id:token", "timestamp:float").rows():
        assert (user, item) not in clicked
        assert first[item] <= int(when)
    drawn = negative.group_by("user_id:token", "timestamp:float").agg(
        pl.col("item_id:token").n_unique(), n=pl.len()
    )
    assert (drawn["item_id:token"] == drawn["n"]).all()
    assert drawn["n"].max() == 3
    assert f"rows: 800 read, {len(rows):,} written\n" in out
    assert f"note: label: 1 for 800 clicks, 0 for {len(negative):,} sampled negatives" in out
    assert "clicks have fewer than 3 negatives, for lack of such items" in out
    assert "note: a negative has the device of its click; drop columns that describe the clicked item" in out
    assert read_yaml(Path("props/dataset/shop.yaml"))["sampled_negatives"] == 3


def test_each_negative_follows_its_click_and_has_its_context():
    assert convert(clicks(), "--time=when", "--sample-negatives=2") == 0
    rows = written().drop("item_id:token")
    click = None
    for row in rows.iter_rows(named=True):
        label = row.pop("label:float")
        click = row if label == "1.0" else click
        assert row == click


def test_the_sample_does_not_depend_on_how_the_file_is_read(monkeypatch):
    found = []
    for block in (500, 1 << 20):
        monkeypatch.setattr(csv_blocks, "_BLOCK", block)
        assert convert(clicks(), "--time=when", "--sample-negatives=2", f"--out=out{block}") == 0
        Path("props/dataset/shop.yaml").unlink()
        found.append(Path(f"out{block}/shop/shop.inter").read_bytes())
    assert found[0] == found[1]


def test_without_times_all_items_are_drawn_from_alike():
    sizes = {}
    frame = clicks().drop("when").sample(fraction=1, shuffle=True, seed=1)
    assert convert(frame, "--sample-negatives=5") == 0
    sizes = dict(written().filter(pl.col("label:float") == "0.0").group_by("item_id:token").len().rows())
    known = frame.select("user", "item").unique().group_by("item").len()
    free = {item: 25 - number for item, number in known.rows()}  # users who may get the item
    mean = sum(sizes.values()) / sum(free.values())
    assert all(
        abs(sizes.get(item, 0) - mean * users) < 6 * (mean * users + 1) ** 0.5 for item, users in free.items()
    )


def test_users_who_clicked_almost_everything_get_what_is_left(monkeypatch):
    monkeypatch.setattr(negatives, "_DRAWS", 1)
    frame = pl.DataFrame({"user_id": ["a"] * 9 + ["b"], "item_id": [*"bcdefghij", "a"]})
    first = pl.Series(range(10)).to_numpy()
    sampler = NegativeSampler(lambda: iter([frame]), first, rows=10, number=2)
    (rows,) = sampler.with_negatives(frame)
    of_a = rows.filter((pl.col("user_id") == "a") & (pl.col("label") == 0))
    assert set(of_a["item_id"]) == {"a"}
    assert len(of_a) == 9
    assert sampler.short == 9
    assert rows.filter(pl.col("user_id") == "b")["label"].to_list() == [1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pass --label, the column of clicks or ratings; or, for a table of clicks only, --sample-negatives"),
        (["--sample-negatives=2", "--label=device"], "pass --label"),
        (["--sample-negatives=-2"], "--sample-negatives must be 1 or more, got -2"),
        (["--sample-negatives=2", "--threshold=2"], "--drop-labels and --threshold need --label"),
    ],
)
def test_options_that_do_not_fit_are_one_line(arguments, message, capsys):
    assert convert(clicks(50), *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_table_without_any_negative_is_refused(capsys):
    frame = pl.DataFrame({"user": ["a", "a"], "item": ["x", "y"], "note": ["m", "n"]})
    assert convert(frame, "--sample-negatives=2") == 2
    assert "error: no negative can be sampled: every user clicked all items that anyone clicked" in (
        capsys.readouterr().err
    )
    assert not Path("dataset_atomic/shop").exists()


def test_labels_that_are_all_1_name_the_option(capsys):
    assert convert(clicks(50).with_columns(y=1), "--label=y") == 2
    assert "or leave out --label and let --sample-negatives sample" in capsys.readouterr().err


def test_reports_and_metrics_say_that_negatives_were_sampled(trained_runs, capsys):
    source = trained_runs["plain"].with_suffix("")
    shutil.copytree(source, "run")
    info = json.loads(Path("run/run.json").read_text())
    info["settings"]["sampled_negatives"] = 4
    Path("run/run.json").write_text(json.dumps(info))
    for run, said in (("run", True), (str(source), False)):
        assert main(["metrics", f"mine={run}", "--samples=2"]) == 0
        assert ("The negatives of mine were sampled" in capsys.readouterr().out) is said
        assert main(["report", f"mine={run}", "--samples=2", "--out=page.html"]) == 0
        assert ("Their negatives were sampled: metrics on them" in Path("page.html").read_text()) is said

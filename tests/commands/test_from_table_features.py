"""``recbole-cp from-table``: options for features, tables of users and items, columns that give the label away."""

import random
from pathlib import Path

import polars as pl
import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.data.convert import side_table
from recbole_clickprompt.data.convert.leaks import LeakScan
from recbole_clickprompt.host.properties import read_yaml

ARGUMENTS = ["--user=customer", "--item=sku", "--name=shop"]
GENRES = ["Science Fiction", "Drama", "War"]


def table(rows=600):
    """Clicks by chance on 30 items by 20 users, with a price of the item and a context."""
    draw = random.Random(0)
    users, items = [draw.randrange(20) for _ in range(rows)], [draw.randrange(30) for _ in range(rows)]
    return pl.DataFrame(
        {
            "customer": [f"c{user}" for user in users],
            "sku": [f"s{item}" for item in items],
            "bought": [draw.randrange(2) for _ in range(rows)],
            "price": [item % 7 + 0.5 for item in items],
            "hour": [draw.randrange(24) for _ in range(rows)],
        }
    )


def items(number=30):
    return pl.DataFrame(
        {"sku": [f"s{n}" for n in range(number)], "colour": [f"colour {n % 4}" for n in range(number)]}
    )


def convert(frame, *arguments, label=True):
    frame.write_csv("clicks.csv")
    return main(["from-table", "clicks.csv", *ARGUMENTS, *(["--label=bought"] if label else []), *arguments])


def out_of(capsys, frame, *arguments, label=True):
    assert convert(frame, *arguments, label=label) == 0
    return capsys.readouterr().out


def error_of(capsys, frame, *arguments, label=True):
    assert convert(frame, *arguments, label=label) == 2
    assert not Path("dataset_atomic/shop").exists()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def written(kind="inter"):
    return pl.read_csv(f"dataset_atomic/shop/shop.{kind}", separator="\t", quote_char=None, infer_schema=False)


def properties():
    return read_yaml(Path("props/dataset/shop.yaml"))


def test_dropped_columns_are_left_out(capsys):
    out_of(capsys, table(), "--drop=hour", "--drop=price")
    assert written().columns == ["user_id:token", "item_id:token", "label:float"]
    assert properties()["column_names"] == {
        "customer": "user_id", "sku": "item_id", "bought": "label", "hour": None, "price": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--drop=hours"],
            "clicks.csv has no column 'hours'; there are 'customer', 'sku', 'bought', 'price', 'hour'",
        ),
        (["--drop=bought"], "--drop names 'bought', the column of an id, the label or the time"),
        (["--drop=hour", "--text-only=hour"], "--drop and --text-only both name 'hour'"),
        (["--list=hour=x", "--list=hour=y"], "--list names 'hour' twice, with the separators 'x' and 'y'"),
        (["--list=hour"], "--list must be a column and a separator"),
        (["--drop-labels=a"], "--drop-labels must be numbers separated by commas, such as 3,3.5, got 'a'"),
        (["--drop-labels=7"], "clicks.csv, column bought: no row has the label 7 of --drop-labels"),
        (["--drop-labels=0,1"], "--drop-labels leaves no row"),
        (["--sample-negatives=2"], "pass --label"),
        (["--drop=sku", "--items=none.csv"], "--drop names 'sku', the column of an id"),
        (["--items=none.csv"], "there is no file none.csv"),
    ],
)
def test_options_that_do_not_fit_are_one_line(arguments, message, capsys):
    assert message in error_of(capsys, table(), *arguments)


def test_rows_with_dropped_labels_are_left_out_and_counted(capsys):
    frame = table().with_columns(bought=pl.Series([1, 2, 3, 3.5, 4, 5.0] * 100, strict=False))
    out = out_of(capsys, frame, "--drop-labels=3,3.5")
    assert "rows: 600 read, 400 written" in out
    assert "note: bought: rows with 3 or 3.5 were dropped, 200 of 600" in out
    assert set(written()["rating:float"]) == {"1.0", "2.0", "4.0", "5.0"}


def test_text_only_columns_are_texts_whatever_they_hold(capsys):
    frame = table().with_columns(weight=pl.int_range(pl.len()) + 0.25)
    out_of(capsys, frame, "--text-only=weight")
    assert properties()["text_only_fields"] == ["weight"]
    assert written()["weight:token"].to_list()[:2] == ["0.25", "1.25"]
    assert "numerical_features" not in properties()


def test_numbers_with_a_heavy_tail_are_scaled_by_their_logarithm(capsys):
    draw = random.Random(1)
    frame = table().with_columns(
        revenue=pl.Series([draw.lognormvariate(0, 3) * draw.choice([1, -1]) for _ in range(600)]),
        size=pl.Series([draw.random() for _ in range(600)]),
    )
    out = out_of(capsys, frame)
    assert "\n  scaled to 0 to 1 for the backbone: size\n" in out
    assert "\n  logarithm scaled to 0 to 1 for the backbone: revenue\n" in out
    assert "note: revenue: nine in ten values are within " in out
    assert properties()["log_scale_fields"] == ["revenue"]
    assert properties()["normalize_field"] == ["revenue", "size"]
    assert written()["revenue:float"].cast(float).to_list() == pytest.approx(frame["revenue"].to_list())


def test_lists_keep_blanks_inside_their_values(capsys):
    draw = random.Random(2)
    values = [", ".join(draw.sample(GENRES, draw.randint(1, 3))) for _ in range(600)]
    out = out_of(capsys, table().with_columns(genre=pl.Series(values)), "--list=genre=,")
    assert written()["genre:token_seq"].to_list() == [value.replace(", ", "|") for value in values]
    assert properties()["seq_separator"] == "|"
    assert properties()["list_separators"] == {"genre": ","}
    assert f"genre is {values[0]}." in out.splitlines()[-1]


def test_lists_without_blanks_are_separated_by_them(capsys):
    out_of(capsys, table().with_columns(tags=pl.Series(["a|b", "b|c", "c"] * 200)), "--list=tags=|")
    assert set(written()["tags:token_seq"]) == {"a b", "b c", "c"}
    assert "seq_separator" not in properties()


def test_texts_that_look_like_lists_name_the_option(capsys):
    out = out_of(capsys, table().with_columns(tags=pl.Series(["a|b", "b|c", "c"] * 200)))
    assert "note: tags: looks like a list, such as 'a|b', and is read as one value; to have its elements, pass "
    assert "pass --list 'tags=|'" in out


@pytest.mark.parametrize("joined", [1 << 15, 5])
def test_a_table_of_items_adds_features_and_items_without_rows(joined, capsys, monkeypatch):
    monkeypatch.setattr(side_table, "_JOINED", joined)
    items(40)[5:].write_csv("items.csv")
    out = out_of(capsys, table(), "--items=items.csv")
    assert "  item  item_id (token), price (token), colour (token)\n" in out
    assert "note: items.csv: 10 of 35 items have no row in clicks.csv\n" in out
    assert "note: items.csv: 5 of 30 items of clicks.csv are not in it, and have none of its features\n" in out
    found = {row[0]: row[1:] for row in written("item").rows()}
    assert found == {
        f"s{n}": (f"{n % 7 + 0.5}" if n < 30 else None, f"colour {n % 4}" if n >= 5 else None) for n in range(40)
    }


def test_tables_of_users_and_items_may_share_names(capsys):
    items(30).rename({"colour": "kind"}).write_csv("items.csv")
    pl.DataFrame({"customer": [f"c{n}" for n in range(20)], "kind": ["new", "old"] * 10}).write_csv("users.csv")
    out = out_of(capsys, table(), "--items=items.csv", "--users=users.csv")
    assert "note: items.csv: column 'kind' is called item_kind, as another field has its name\n" in out
    assert properties()["text_fields"]["item_kind"] == "item kind"
    assert {"kind", "item_kind"}.isdisjoint(properties()["column_names"])
    assert dict(written("user").select("user_id:token", "kind:token").rows())["c3"] == "old"


def test_columns_of_the_rows_keep_their_names_where_a_table_of_items_has_them_too(capsys):
    clicks = table().with_columns(when=pl.int_range(600))
    items(30).with_columns(when=pl.lit("x"), customer=pl.lit("y"), bought=pl.lit("z")).write_csv("items.csv")
    out_of(capsys, clicks, "--items=items.csv", "--time=when")
    names = properties()["column_names"]
    assert {names[column] for column in ("customer", "sku", "bought", "when")} == {
        "user_id", "item_id", "label", "timestamp",
    }  # fmt: skip
    assert {"item_when:token", "item_customer:token", "item_bought:token"} < set(written("item").columns)


def test_a_column_without_a_name_has_words(capsys):
    out_of(capsys, table().with_columns(pl.Series("", [n % 5 for n in range(600)])))
    assert properties()["text_fields"]["column"] == "column"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["sku,colour", "s1,red", "s2,red", "", "s1,blue"], "items.csv, line 5, column sku: 's1' comes twice"),
        (["sku,colour", "s1,red", ",red"], "items.csv, line 3, column sku: a value is missing"),
        (["item,colour", "s1,red"], "items.csv has no column 'sku'; there are 'item', 'colour'"),
        (["sku", "s1"], "items.csv has no column but 'sku'"),
    ],
)
def test_a_table_of_items_that_cannot_be_joined_is_told_by_line(lines, message, capsys):
    Path("items.csv").write_text("\n".join(lines))
    assert message in error_of(capsys, table(), "--items=items.csv")


def test_columns_that_are_one_to_one_with_an_id_are_only_text(capsys):
    frame = table().with_columns(title="Title of " + pl.col("sku"), number=pl.col("customer").str.slice(1))
    out = out_of(capsys, frame)
    assert properties()["text_only_fields"] == ["title", "number"]
    assert "note: title: one-to-one with the item's id, so only language models read it" in out
    assert "note: number: one-to-one with the user's id" in out
    Path("props/dataset/shop.yaml").unlink()
    Path("dataset_atomic/shop").rename("dataset_atomic/first")
    out_of(
        capsys,
        frame.with_columns(title=pl.when(pl.col("sku") == "s3").then(pl.lit("Title of s4")).otherwise("title")),
    )
    assert properties()["text_only_fields"] == ["number"]


LEAKS = {
    "a text": (pl.when(pl.col("bought") == 1).then(pl.lit("paid")).otherwise(pl.lit("left")), "1.000"),
    "a high number": (pl.col("bought") * 600 + pl.int_range(pl.len()), "1.000"),
    "a low number": (pl.col("bought") * -600 - pl.int_range(pl.len()), "1.000"),
    "a missing value": (pl.when(pl.col("bought") == 1).then(pl.int_range(pl.len()) + 0.5), "1.000"),
}  # fmt: skip


@pytest.mark.parametrize("case", LEAKS)
def test_a_column_that_gives_the_label_away_is_rejected_or_kept(case, capsys):
    values, auc = LEAKS[case]
    frame = table().with_columns(values.alias("what happened"))
    error = error_of(capsys, frame)
    assert f"the label of held-out rows can be read off 'what happened' (AUC {auc})" in error
    assert "leave it out with --drop 'what happened', or accept it with --keep 'what happened'" in error
    assert f"note: what happened: kept, although held-out rows ranked by it alone have AUC {auc}" in out_of(
        capsys, frame, "--keep=what happened"
    )


def test_a_column_of_items_that_gives_the_label_away_is_rejected(capsys):
    frame = table().with_columns(bought=pl.col("sku").str.slice(1).cast(int) % 2)
    items().with_columns(even=pl.int_range(pl.len()) % 2).write_csv("items.csv")
    error = error_of(capsys, frame, "--items=items.csv")
    assert "off 'colour' (AUC 1.000) and 'even' (AUC 1.000), so" in error
    assert "with --drop colour --drop even, or accept" in error


def test_values_that_say_nothing_about_other_rows_are_no_leak(capsys):
    frame = table().with_columns(comment="comment no. " + pl.int_range(pl.len()).cast(pl.String))
    assert "AUC" not in out_of(capsys, frame)


def test_few_rows_are_not_judged(capsys):
    frame = table(60).with_columns(paid=pl.col("bought"))
    assert convert(frame) == 0


def test_the_sample_of_rows_is_bounded_and_has_both_classes():
    scan, rows = LeakScan(positive=1000, negative=10**6 - 1000), 10**6
    for start in range(0, rows, 10**5):
        labels = (pl.int_range(start, start + 10**5, eager=True) % 1000 == 0).to_numpy()
        hashes = labels.astype("uint64")
        scan.add(labels, {"user": hashes, "item": hashes}, {"same": hashes}, {})
    sampled = sum(map(len, scan._labels))
    assert 33_000 < sampled < 35_000
    assert sum(labels.sum() for labels in scan._labels) == 1000
    assert scan.aucs() == {"same": 1.0}

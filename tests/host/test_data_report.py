"""The numbers of a data set, counted by hand."""

import logging

import pytest
import torch

from recbole_clickprompt.evaluation.data_report import data_text, share_text, time_text
from recbole_clickprompt.evaluation.report.data import data_page
from recbole_clickprompt.host.data_report import data_report
from recbole_clickprompt.host.restore import restore

# Chronological; the last two rows but two are the validation part, the last two the test part
INTER = """user_id:token item_id:token rating:float timestamp:float price:float device:token
u1 i1 5 1000000000 1.5 phone
u1 i2 1 1000000001 - phone
u2 i1 4 1000000002 2.5 -
u2 i3 2 1000000003 3.5 tablet
u9 i9 3 1000000004 9.5 phone
u3 i2 5 1000000005 - phone
u3 i1 1 1000000006 1.5 phone
u1 i4 5 1000000007 - phone
u4 i1 1 1000000008 1.5 -
u4 i4 2 1000000009 2.5 watch
u5 i1 4 1000000010 - phone
u5 i1 - 1000000011 1.5 phone
"""
USER = "user_id:token age:token income:float\nu1 20 100\nu2 - -\nu3 30 300\nu4 - 400\nu5 40 500\n"
ITEM = "item_id:token genre:token_seq\ni1 a,b\ni2 -\ni3 b\ni4 c\ni5 a\n"
SPLIT = {"split": {"RS": [6, 2, 2]}, "order": "TO", "group_by": None, "mode": "labeled"}


@pytest.fixture
def parts(make_config, make_data, tmp_path):
    """The parts of this data set with further settings."""
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    for suffix, text in (("inter", INTER), ("user", USER), ("item", ITEM)):
        lines = [["" if cell == "-" else cell for cell in line.split(" ")] for line in text.splitlines()]
        content = "\n".join("\t".join(line).replace(",", " ") for line in lines) + "\n"
        (folder / f"small.{suffix}").write_text(content)

    def load(**settings):
        config = make_config(
            dataset="small",
            data_path=str(tmp_path / "data"),
            threshold={"rating": 4},
            val_interval={"rating": "[1,2];[4,5]"},
            drop_missing=True,
            text_fields={"user_id": "user", "price": "price"},
            **{"load_col": None, "unused_col": {"inter": ["timestamp"]}, "eval_args": SPLIT, **settings},
        )
        torch.manual_seed(1)  # of random splits
        return [loader._dataset for loader in make_data(config)]

    return load


def test_rows_users_items_labels_and_times_of_each_part(parts):
    found = data_report(parts()).parts
    assert list(found) == ["training", "validation", "test"]
    assert [part.rows for part in found.values()] == [6, 2, 2]
    assert [part.users for part in found.values()] == [3, 2, 2]
    assert [part.items for part in found.values()] == [3, 2, 2]
    assert [part.positive for part in found.values()] == [3, 1, 1]
    assert [part.times for part in found.values()] == [
        (1e9, 1e9 + 6), (1e9 + 7, 1e9 + 8), (1e9 + 9, 1e9 + 10)
    ]  # fmt: skip


def test_rows_of_users_and_items_without_training_rows(parts):
    found = data_report(parts()).parts
    assert [part.unseen_users for part in found.values()] == [0, 1, 2]  # u4; u4 and u5
    assert [part.unseen_items for part in found.values()] == [0, 1, 1]  # i4; i4


def test_missing_values_of_each_part_and_values_as_read(parts):
    fields = data_report(parts()).fields
    missing = {name: list(field.missing.values()) for name, field in fields.items() if any(field.missing.values())}
    assert missing == {
        "price": [2, 1, 1],
        "device": [1, 1, 0],
        "age": [2, 1, 1],  # u2 twice; u4; u4
        "income": [2, 0, 0],  # u2
        "genre": [2, 0, 0],  # i2
    }
    # u9 and i9 are in no file of users and items, and their row is dropped
    assert {name: (field.values, field.trained) for name, field in fields.items() if field.values is not None} == {
        "user_id": (5, 3),
        "item_id": (5, 3),
        "device": (3, 2),
        "age": (3, 2),
        "genre": (3, 2),
    }
    assert fields["price"].values is None


def test_dropped_rows_by_the_setting_that_drops_them(parts):
    assert data_report(parts()).dropped == {"drop_missing": 1, "val_interval {'rating': '[1,2];[4,5]'}": 1}
    sampled = data_report(parts(train_rows=4, train_negatives=0.01))
    assert sampled.dropped["train_rows 4"] == 2
    assert sampled.dropped["train_negatives 0.01"] > 0
    assert sampled.parts["training"].rows == sampled.parts["training"].positive > 0
    assert sum(sampled.dropped.values()) + sampled.rows == 12


def test_advice_names_what_is_not_set_yet(parts):
    users, items = data_report(parts(unseen_id_embeddings="random")).advice
    assert users.startswith("100 % of the test rows have users without training rows: ")
    for setting in ("`unseen_id_embeddings: zero`", "`history_length: 20`", "`cold_start: user_id`"):
        assert setting in users
    assert items.startswith("50 % of the validation rows have items without training rows: ")
    assert "history_length" not in items
    assert "`cold_start: item_id`" in items
    users, items = data_report(parts(history_length=2, history_pooling="mean")).advice
    assert "unseen_id_embeddings" not in users + items
    assert "history_length" not in users


def test_known_users_and_items_need_no_advice(make_config, make_data):
    report = data_report([loader._dataset for loader in make_data(make_config())])
    assert report.advice == []
    assert "cold_start" not in data_text(report)


def test_the_text(parts):
    *lines, users, items = data_text(data_report(parts())).splitlines()
    assert users.startswith("advice: 100 % of the test rows")
    assert items.startswith("advice: 50 % of the validation rows")
    assert lines == [
        "data set small: 10 rows",
        "part        rows  users  items  label 1  rows of unseen users  of unseen items  time",
        "training       6      3      3   50.0 %                     0                0  2001-09-09 01:46 to "
        "2001-09-09 01:46",
        "validation     2      2      2   50.0 %            1 (50.0 %)       1 (50.0 %)  2001-09-09 01:46 to "
        "2001-09-09 01:46",
        "test           2      2      2   50.0 %           2 (100.0 %)       1 (50.0 %)  2001-09-09 01:46 to "
        "2001-09-09 01:46",
        "dropped: 1 of 12 rows by drop_missing; 1 of 12 rows by val_interval {'rating': '[1,2];[4,5]'}",
        "missing values: price in 2 training, 1 validation, 1 test rows; device in 1 training, 1 validation rows; "
        "age in 2 training, 1 validation, 1 test rows; income in 2 training rows; genre in 2 training rows",
        "values (in training rows): user_id 5 (3), item_id 5 (3), device 3 (2), age 3 (2), genre 3 (2)",
        "most frequent items (for the size of a cache): 1 are in 50 %, 3 are in 90 %, 3 are in 99 % of the "
        "training rows",
    ]


def test_numbers_of_the_figures(parts):
    report = data_report(parts())
    frequency = report.frequency.set_index(["kind", "from"])["count"]
    assert frequency["user"].to_dict() == {0: 2, 1: 0, 2: 3}
    assert frequency["item"].to_dict() == {0: 2, 1: 1, 2: 2}
    rows = report.timeline.groupby("part", sort=False)[["rows", "positive"]].sum()
    assert rows.loc["training"].tolist() == [6, 3]
    assert rows["rows"].sum() == 10


def test_a_data_set_without_times_has_no_timeline(parts):
    fields = {"inter": ["user_id", "item_id", "rating", "price"]}
    report = data_report(parts(load_col=fields, unused_col=None, eval_args={**SPLIT, "order": "RO"}))
    assert report.timeline.empty
    assert [part.times for part in report.parts.values()] == [None] * 3
    assert sum(report.fields["price"].missing.values()) == 4
    assert "Rows over time" not in data_page(report)


def test_times_and_shares_as_text():
    assert time_text(874_724_710.0) == "1997-09-20 03:05"
    assert time_text(12.0) == "12"
    assert [share_text(0, 7), share_text(1, 10_000), share_text(1, 3)] == ["0", "1 (< 0.1 %)", "1 (33.3 %)"]


def test_a_run_logs_the_report_before_training_and_a_restored_one_does_not(
    make_config, make_data, trained_runs, caplog
):
    with caplog.at_level(logging.INFO):
        make_data(make_config())
    (text,) = [message for message in caplog.messages if message.startswith("data set tiny")]
    assert len(text.splitlines()) <= 10
    caplog.clear()
    with caplog.at_level(logging.INFO):
        restore(trained_runs["plain"], device="cpu")
    assert not [message for message in caplog.messages if message.startswith("data set tiny")]


def test_field_names_are_escaped_in_the_page(parts):
    report = data_report(parts(rename_fields={"inter": {"device": "<b>device"}}))
    page = data_page(report)
    assert "&lt;b&gt;device" in page
    assert "<b>device" not in page

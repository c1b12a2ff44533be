"""Histories of the rows of a data set: what they show, to which part, and what they never show."""

import shutil
from pathlib import Path

import pytest
import torch

from recbole_clickprompt.errors import SettingError

TINY = Path(__file__).parents[2] / "dataset_atomic/tiny"
LENGTH = 5
BY_TIME = {"split": {"RS": [8, 1, 1]}, "order": "TO", "group_by": None, "mode": "labeled"}
AT_RANDOM = {**BY_TIME, "order": "RO"}


def part_rows(loader):
    """(user, item, time, label) of each row of a part, and its history: a list of (item, label or 1)."""
    dataset = loader._dataset
    batch = dataset[torch.arange(len(dataset))]
    found = []
    labels = batch["label_list"] if "label_list" in batch else torch.ones_like(batch["item_id_list"])
    for row in range(len(dataset)):
        size = int(batch["item_length"][row])
        assert batch["item_id_list"][row, size:].eq(0).all()
        history = list(zip(batch["item_id_list"][row, :size].tolist(), labels[row, :size].tolist(), strict=True))
        found.append(
            (
                int(batch["user_id"][row]), int(batch["item_id"][row]), float(dataset.times[row]),
                int(batch["label"][row]), history,
            )
        )  # fmt: skip
    return found


def expected(rows, log, length=LENGTH, every_row=False):
    return [
        [
            (item, label if every_row else 1)
            for u, item, t, label, _ in sorted(log, key=lambda row: row[2])
            if u == user and t < time and (label or every_row)
        ][-length:]
        for user, _, time, _, _ in rows
    ]


@pytest.mark.parametrize("split", [BY_TIME, AT_RANDOM], ids=["by time", "at random"])
@pytest.mark.parametrize("until", ["row", "training"])
@pytest.mark.parametrize("kind", ["positive", "all"])
def test_a_row_shows_its_users_earlier_clicks_that_its_part_may_see(make_config, make_data, split, until, kind):
    parts = make_data(
        make_config(
            history_pooling="mean", history_length=LENGTH, history_until=until, history=kind, eval_args=split
        )
    )
    train, *others = map(part_rows, parts)
    assert [row[4] for row in train] == expected(train, train, every_row=kind == "all")
    log = train + [row for rows in others if until == "row" for row in rows]
    for rows in others:
        assert [row[4] for row in rows] == expected(rows, log, every_row=kind == "all")
    assert any(len(row[4]) == LENGTH for row in train)


def test_without_the_setting_rows_have_no_such_columns(make_config, make_data):
    dataset = make_data(make_config())[0]._dataset
    batch = dataset[torch.arange(4)]
    assert not {"item_id_list", "item_length", "label_list"} & set(batch.columns)
    assert not [name for name in dataset.inter_feat.columns if ":" in name]


def test_batches_of_the_loaders_have_them_and_no_hidden_column(make_config, make_data):
    for loader in make_data(make_config(history_pooling="mean", history_length=3)):
        batch = next(iter(loader))
        batch = batch[0] if isinstance(batch, tuple) else batch
        assert batch["item_id_list"].shape == (len(batch), 3)
        assert batch["item_id_list"].dtype == batch["item_length"].dtype == torch.int64
        assert not [name for name in batch.columns if ":" in name]


def test_new_users_have_no_history_unless_it_runs_until_the_row(make_config, make_data):
    def lengths(**settings):
        parts = make_data(make_config(history_pooling="mean", history_length=3, cold_start="user_id", **settings))
        return [max(len(row[4]) for row in part_rows(part)) for part in parts]

    assert lengths() == [3, 0, 0]
    assert lengths(history_until="row") == [3, 3, 3]


def test_training_rows_that_train_rows_leaves_out_are_in_no_history(make_config, make_data):
    from recbole_clickprompt.trainer.sampling import finetuning_loader

    config = make_config(history_pooling="mean", history_length=100, history="all", train_rows=200)
    parts = make_data(config)
    drawn = part_rows(finetuning_loader(config, parts[0]))
    assert len(drawn) == 200
    for loader in parts[:1]:
        rows = part_rows(loader)
        assert [row[4] for row in rows] == expected(rows, drawn, length=100, every_row=True)


def test_the_order_of_the_file_can_stand_for_time(make_config, make_data, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(TINY, folder)
    header, *lines = (TINY / "tiny.inter").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    numbered = ["\t".join([*row[:3], str(number), row[4]]) for number, row in enumerate(rows)]
    (folder / "tiny.inter").write_text("\n".join([header, *numbered, ""]))

    def parts(order):
        settings = {"history_pooling": "mean", "history_length": LENGTH, "data_path": str(tmp_path)}
        return [*map(part_rows, make_data(make_config(**settings, history_order=order)))]

    assert parts("file") == parts("time")


def test_split_files_have_the_histories_of_the_split(make_config, make_data, tmp_path):
    split = make_data(make_config(history_pooling="mean", history_length=LENGTH))
    folder = tmp_path / "tiny"
    shutil.copytree(TINY, folder)
    header, *lines = (TINY / "tiny.inter").read_text().splitlines()
    lines = [line for line in lines if line.split("\t")[2] != "3"]
    lines.sort(key=lambda line: int(line.split("\t")[3]))
    for name, loader in zip(("train", "valid", "test"), split, strict=True):
        rows, lines = lines[: len(loader._dataset)], lines[len(loader._dataset) :]
        (folder / f"tiny.{name}.inter").write_text("\n".join([header, *rows, ""]))
    files = make_data(
        make_config(
            history_pooling="mean",
            history_length=LENGTH,
            data_path=str(tmp_path),
            benchmark_filename=["train", "valid", "test"],
        )
    )

    def tokens(loader):
        dataset = loader._dataset
        items = dataset.field2id_token["item_id"]
        return [(*row[2:4], [items[item] for item, _ in row[4]]) for row in part_rows(loader)]

    assert [*map(tokens, files)] == [*map(tokens, split)]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"TIME_FIELD": "moment"}, SettingError, "'moment' (TIME_FIELD)"),
        ({"history_length": 0}, SettingError, "history_length"),
        ({"history": "none"}, SettingError, "history"),
    ],
)
def test_what_cannot_be_had_is_refused(make_config, make_data, settings, error, words):
    eval_args = {**AT_RANDOM}
    with pytest.raises(error, match=words.replace("(", r"\(").replace(")", r"\)")):
        make_data(
            make_config(**{"history_pooling": "mean", "history_length": 3, "eval_args": eval_args, **settings})
        )

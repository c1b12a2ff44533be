"""The data set: exact order, whole titles, clear refusals."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import create_dataset
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_clickprompt.errors import DataError, SettingError

TINY = Path(__file__).parents[2] / "dataset_atomic" / "tiny" / "tiny.inter"


def rows_by_time():
    with TINY.open() as stream:
        rows = [r for r in csv.DictReader(stream, delimiter="\t") if r["rating:float"] != "3"]
    return sorted(rows, key=lambda r: int(r["timestamp:float"]))


def names(dataset, field, part):
    return dataset.field2id_token[field][part._dataset.inter_feat[field].numpy()].tolist()


def test_the_split_is_8_1_1_by_the_time_in_the_file(make_config, make_data):
    parts = make_data(make_config())
    rows = rows_by_time()
    sizes = [len(part._dataset) for part in parts]
    tenth = len(rows) // 10
    assert sizes == [len(rows) - 2 * tenth, tenth, tenth]
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        expected = rows[start : start + size]
        start += size
        for field in ("user_id", "item_id"):
            assert names(part._dataset, field, part) == [r[f"{field}:token"] for r in expected]
        assert part._dataset.inter_feat["label"].tolist() == [float(r["rating:float"] >= "4") for r in expected]


def test_float32_time_would_have_moved_rows():
    times = torch.tensor([int(r["timestamp:float"]) for r in rows_by_time()], dtype=torch.float32)
    assert len(times.unique()) < len(times) / 10


def test_a_title_is_one_feature_and_its_words_stay_together(make_config, make_data):
    dataset = make_data(make_config())[0]._dataset
    assert dataset.field2type["title"] is FeatureType.TOKEN
    assert "Happy Summer, The" in dataset.field2id_token["title"]
    assert dataset.field2type["genre"] is FeatureType.TOKEN_SEQ


def test_ml_100k_is_the_one_in_the_wheel_without_its_threes(make_config, make_data):
    parts = make_data(make_config(dataset="ml-100k"))
    assert [len(part._dataset) for part in parts] == [58285, 7285, 7285]
    assert sum(int(part._dataset.inter_feat["label"].sum()) for part in parts) == 55375
    train = parts[0]._dataset
    assert [train.num(f) - 1 for f in ("user_id", "item_id", "gender", "occupation")] == [943, 1682, 2, 21]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"text_fields": {"genres": "genre"}},
            r"text_fields names 'genres', which the files of tiny .*did you mean genre",
        ),
        ({"whole_text_fields": ["name"]}, "whole_text_fields names 'name'"),
        ({"value_labels": {"sex": {"F": "female"}}}, "value_labels names 'sex'"),
        ({"val_interval": {"rating": "[9,10]"}}, "tiny has no rows left after val_interval"),
        (
            {"threshold": {"rating": 9}},
            "the training part of tiny must contain both classes, got 0 positive and",
        ),
        ({"threshold": None}, "tiny has no field 'label'; set `threshold`"),
        ({"threshold": {"stars": 4}}, "threshold names 'stars'"),
        ({"normalize_field": ["price"]}, "normalize_field names 'price'"),
        ({"numerical_features": ["price"]}, "numerical_features names 'price'"),
        ({"numerical_features": ["gender"]}, "numerical_features names 'gender', which is not a number field"),
        ({"numerical_features": ["rating"]}, "'rating', from which threshold derives the label"),
        ({"val_interval": {"price": "[1,2]"}}, "val_interval names 'price'"),
        (
            {"val_interval": {"gender": "[1,2]"}},
            "val_interval must contain an interval for a number field and a list",
        ),
        ({"alias_of_user_id": ["friend"]}, "alias_of_user_id names 'friend'"),
        ({"discretization": {"price": {"method": "LD"}}}, "discretization names 'price', which the files of"),
        ({"discretization": {"year": {"method": "LD"}}}, "'year', which is not in numerical_features"),
        ({"TIME_FIELD": "when"}, "tiny has no field 'when'"),
        (
            {"unused_col": {"inter_": ["device"]}},
            "unused_col has the key 'inter_', .* be inter, user, item.*inter",
        ),
        ({"unload_col": {"items": ["year"]}}, "unload_col has the key 'items', which is no file of tiny"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(make_config, make_data, settings, message):
    with pytest.raises(DataError, match=message):
        make_data(make_config(**settings))


def test_an_empty_file_is_refused(make_config, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "empty.inter").write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n")
    config = make_config(
        dataset="empty",
        data_path=str(tmp_path),
        load_col={"inter": ["user_id", "item_id", "rating"]},
        text_fields={"user_id": "user"},
        threshold={"rating": 4},
    )
    with pytest.raises(DataError, match="empty has no rows"):
        create_dataset(config)


def test_a_data_set_that_is_nowhere_is_refused_by_path(make_config):
    config = make_config(dataset="nowhere", text_fields={"user_id": "user"})
    with pytest.raises(DataError, match=r"dataset_atomic/nowhere does not exist"):
        create_dataset(config)


def test_more_text_than_the_plm_takes_is_refused(make_config, make_data, tiny_bert):
    dataset = make_data(make_config(max_text_length=500))[0]._dataset
    with pytest.raises(SettingError, match="max_text_length is 500, but .* supports at most 128 tokens"):
        dataset.token_table(str(tiny_bert))


def small_set(tmp_path, titles, users=("u0", "u1")):
    """A data set of a few rows whose items have the given titles."""
    folder = tmp_path / "small"
    folder.mkdir()
    rows = [f"u{n % 3}\ti{n % len(titles)}\t{n % 2}\t{n}" for n in range(60)]
    header = "user_id:token\titem_id:token\tlabel:float\ttimestamp:float"
    (folder / "small.inter").write_text("\n".join([header, *rows]) + "\n")
    lines = [f"i{n}\t{title}" for n, title in enumerate(titles)]
    (folder / "small.item").write_text("\n".join(["item_id:token\ttitle:token", *lines]) + "\n")
    (folder / "small.user").write_text("\n".join(["user_id:token\tage:token", *(f"{u}\t3" for u in users)]) + "\n")
    return {"dataset": "small", "data_path": str(tmp_path), "text_fields": {"title": "title"}, "load_col": None}


def test_a_long_title_takes_its_own_memory_and_not_that_of_every_other(make_config, tmp_path):
    titles = ["x" * 100_000, *(f"title {n}" for n in range(50))]
    dataset = create_dataset(make_config(**small_set(tmp_path, titles)))
    tokens = dataset.field2id_token["title"]
    assert tokens.tolist() == ["[PAD]", *titles]
    assert tokens.nbytes < 1000  # pointers; a fixed width would be 20 MB
    assert dataset.token2id("title", "title 7") == tokens.tolist().index("title 7")


def test_rows_of_a_user_that_the_user_file_lacks_are_left_out_and_told(make_config, tmp_path, caplog):
    dataset = create_dataset(make_config(**small_set(tmp_path, ["a", "b"])))
    assert dataset.inter_num == 40
    assert "20 of 60 rows of small are dropped because their user or item is not in" in caplog.text
    assert "first has user 'u2' and item 'i0'" in caplog.text


@pytest.mark.parametrize("keep", [None, "last"])
def test_filters_hold_for_the_files_of_an_exact_split_too(make_config, make_data, tmp_path, keep):
    folder = tmp_path / "parts"
    folder.mkdir()
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    for name, first in (("train", 100), ("valid", 50), ("test", 0)):  # the later part is the older one here
        rows = [f"u{n % 3}\ti{n // 3}\t{1 + n % 5}\t{first + n}" for n in range(30)]
        (folder / f"parts.{name}.inter").write_text("\n".join([header, *rows]) + "\n")
    settings = {"text_fields": {"user_id": "user"}, "benchmark_filename": ["train", "valid", "test"]}
    settings |= {"val_interval": {"rating": "[1,2];[4,5]"}, "threshold": {"rating": 4}, "load_col": None}
    config = make_config(dataset="parts", data_path=str(tmp_path), rm_dup_inter=keep, **settings)
    if keep:  # every pair is in each part, and the training part's is the last
        with pytest.raises(
            DataError, match="the validation part of parts must contain both classes, got 0 positive and 0"
        ):
            make_data(config)
        return
    parts = [part._dataset for part in make_data(config)]
    assert [len(part) for part in parts] == [24, 24, 24]
    assert [part.inter_feat["timestamp"].tolist()[:3] for part in parts] == [
        [100, 101, 103],
        [50, 51, 53],
        [0, 1, 3],
    ]


@pytest.mark.parametrize("index", [np.array([5, 0, 5]), torch.tensor([5, 0, 5]), slice(2, 9), [5, 0, 5]])
@pytest.mark.parametrize("join", [True, False])
def test_rows_are_those_that_recbole_reads(make_config, make_data, index, join):
    dataset = make_data(make_config())[0]._dataset
    ours, theirs = dataset.__getitem__(index, join), Dataset.__getitem__(dataset, index, join)
    assert ours.columns == theirs.columns
    assert len(ours) == len(theirs) > 0
    for name in ours.columns:
        assert ours[name].dtype == theirs[name].dtype
        assert torch.equal(ours[name], theirs[name])


def test_a_text_of_ten_thousand_tokens_is_cut_with_one_warning(
    make_config, make_data, tmp_path, tiny_bert, caplog
):
    settings = small_set(tmp_path, ["river " * 10_000, "garden", "road"], users=("u0", "u1", "u2"))
    train = make_data(make_config(**settings))[0]._dataset
    for _ in range(2):  # as the models of both stages ask for it
        table = train.token_table(str(tiny_bert))
    assert table.lengths(train.inter_feat).tolist() == [128, 6, 6] * 16
    cut = [record.getMessage() for record in caplog.records if "is truncated" in record.getMessage()]
    assert cut == ["the text of 16 of 48 rows has more than 128 tokens and is truncated"]

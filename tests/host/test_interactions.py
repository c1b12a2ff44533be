"""Rows that cannot be trained on are refused with their line, or dropped by a setting and counted."""

import shutil
from pathlib import Path

import pytest
from recbole.data import create_dataset, data_preparation

from recbole_clickprompt.errors import DataError

TINY = Path(__file__).parents[2] / "dataset_atomic" / "tiny"
COLUMNS = {"user": ["user_id", "gender", "age", "job"], "item": ["item_id", "title", "year", "genre"]}
LABELS = {"load_col": {"inter": ["user_id", "item_id", "label", "timestamp", "device"], **COLUMNS}}
LABELS |= {"val_interval": None, "threshold": None}


@pytest.fixture
def make(tmp_path, make_config):
    """A data set like ``tiny`` whose files are changed: ``change`` maps a suffix to a function of its lines."""

    def make(change, **settings):
        folder = tmp_path / "data" / "tiny"
        shutil.copytree(TINY, folder, dirs_exist_ok=True)
        for suffix, function in change.items():
            path = folder / f"tiny.{suffix}"
            lines = path.read_text().splitlines()
            path.write_text("\n".join(function(lines)) + "\n")
        settings = {"data_path": str(tmp_path / "data"), **settings}
        return create_dataset(make_config("ClickPromptNoPLM", train_stage="finetune", **settings))

    return make


def header(old, new):
    return lambda lines: [lines[0].replace(old, new), *lines[1:]]


def cell(column, values):
    """Puts ``values``, by line number, into a column that is counted from 0."""

    def change(lines):
        rows = [line.split("\t") for line in lines]
        for line, value in values.items():
            rows[line - 1][column] = value
        return ["\t".join(row) for row in rows]

    return change


def labels(translate):
    """Labels in the place of ratings."""

    def change(lines):
        rows = [line.split("\t") for line in lines[1:]]
        rows = [[user, item, translate(int(rating)), *rest] for user, item, rating, *rest in rows]
        return [lines[0].replace("rating", "label"), *("\t".join(row) for row in rows)]

    return change


WRONG_LABELS = {
    "-1 and 1": (lambda rating: "1" if rating > 3 else "-1", "its 2 values are -1, 1; .*`threshold: {label: 1}`"),
    "1 and 2": (lambda rating: "2" if rating > 3 else "1", "its 2 values are 1, 2; .*`threshold: {label: 2}`"),
    "shares": (lambda rating: "0.7" if rating > 3 else "0", "its 2 values are 0, 0.7"),
    "many": (lambda rating: str(rating), "its 5 values are 1, 2, 3, 4, 5"),
    "missing": (
        lambda rating: {3: "", 2: "NA"}.get(rating, "1"),
        "without label, of 1500 rows; the first is in line 3",
    ),
    "infinite": (lambda rating: "inf" if rating == 3 else "1", "line 3, column label: the number is infinite"),
    "words": (lambda rating: "yes", "line 2, column label:float: 'yes' is not a number"),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_labels_are_0_and_1(make, case):
    translate, fault = WRONG_LABELS[case]
    with pytest.raises(DataError, match=f"tiny.inter.*{fault}"):
        make({"inter": labels(translate)}, **LABELS)


def test_a_label_of_another_type_is_refused(make):
    with pytest.raises(
        DataError, match="label is the label, so it must be label:float in the header, got label:tok"
    ):
        make({"inter": lambda lines: header("rating:float", "label:token")(lines)}, **LABELS)


def test_a_threshold_makes_labels_of_any_two_values(make, make_data):
    translate, _ = WRONG_LABELS["-1 and 1"]
    dataset = make({"inter": labels(translate)}, **{**LABELS, "threshold": {"label": 1}})
    assert set(dataset.inter_feat["label"]) == {0, 1}
    assert int(dataset.inter_feat["label"].sum()) == sum(
        int(line.split("\t")[2]) > 3 for line in (TINY / "tiny.inter").read_text().splitlines()[1:]
    )


MISSING = {
    "a rating": (2, "1 without rating"),
    "a time": (3, "1 without timestamp"),
    "a user": (0, "1 without user_id"),
    "an item": (1, "1 without item_id"),
}


@pytest.mark.parametrize("case", MISSING)
def test_a_row_that_lacks_something_is_refused_or_left_out_and_counted(make, case, caplog):
    column, fault = MISSING[case]
    with pytest.raises(
        DataError, match=f"tiny.inter: {fault}, of 1500 rows; the first is in line 4; .*drop_missing: True"
    ):
        make({"inter": cell(column, {4: ""})})
    whole = len(make({}))
    caplog.clear()
    kept = make({"inter": cell(column, {4: ""})}, drop_missing=True)  # its rating is a 4
    assert len(kept) == whole - 1
    assert f"tiny.inter: {fault}, of 1500 rows; the first is in line 4; these 1 rows are dropped" in caplog.text


def test_a_rating_is_never_replaced_by_the_mean_of_others(make):
    ratings = dict.fromkeys(range(10, 110), "NA")
    with pytest.raises(DataError, match="100 without rating, of 1500 rows; the first is in line 10"):
        make({"inter": cell(2, ratings)})


def test_times_are_needed_where_rows_are_ordered_by_them(make):
    change = {"inter": cell(3, dict.fromkeys(range(10, 710), ""))}
    with pytest.raises(DataError, match="700 without timestamp"):
        make(change)
    at_random = {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"}
    assert len(make(change, eval_args=at_random)) == len(make({}))


def test_a_time_that_is_no_number_is_refused(make):
    with pytest.raises(
        DataError, match="timestamp is the time by which rows are split, so it must be timestamp:fl"
    ):
        make({"inter": header("timestamp:float", "timestamp:token")})
    with pytest.raises(DataError, match="line 5, column timestamp: the number is infinite"):
        make({"inter": cell(3, {5: "inf"})})
    with pytest.raises(DataError, match="line 5, column rating: the number is infinite"):
        make({"inter": cell(2, {5: "-inf"})})


IDS = {
    "another name": ("user_id:token", "uid:token", "has no field 'user_id', which USER_ID_FIELD names"),
    "a comment": ("user_id:token", "# user_id:token", "has no field 'user_id', which USER_ID_FIELD names"),
    "numbers": ("user_id:token", "user_id:float", "line 2, column user_id:float: 'u21' is not a number"),
    "sequences": ("user_id:token", "user_id:token_seq", "its header must be user_id:token, got user_id:token_seq"),
}


@pytest.mark.parametrize("case", IDS)
def test_ids_are_tokens_of_the_field_that_the_settings_name(make, case):
    old, new, fault = IDS[case]
    with pytest.raises(DataError, match=f"tiny.inter.*{fault}"):
        make({"inter": header(old, new)}, load_col=None)


def test_ids_with_blanks_around_them_are_refused(make):
    with pytest.raises(
        DataError, match=r"tiny.inter, line 7, column user_id: the id 'u\d+ ' is surrounded by blanks"
    ):
        make({"inter": lambda lines: [*lines[:6], lines[6].replace("\t", " \t", 1), *lines[7:]]})
    with pytest.raises(
        DataError, match=r"tiny.item, line 3, column item_id: the id ' i1' is surrounded by blanks"
    ):
        make({"item": cell(0, {3: " i1"})})


def test_ids_that_differ_after_a_nul_are_refused(make):
    with pytest.raises(DataError, match="tiny.inter, line 3, column 4: a NUL character"):
        make({"inter": cell(0, {3: "u21\0a"})})


def test_a_file_of_users_that_is_empty_or_gone_is_named(make, tmp_path):
    with pytest.raises(DataError, match="tiny.user has no rows under its header"):
        make({"user": lambda lines: lines[:1]})
    (tmp_path / "data" / "tiny" / "tiny.user").unlink()
    with pytest.raises(DataError, match="load_col lists fields of .*tiny.user, which does not exist"):
        make_again(make, tmp_path)


def make_again(make, tmp_path):
    """As ``make`` without copying the files once more."""
    saved = shutil.copytree
    try:
        shutil.copytree = lambda *_, **__: None
        return make({})
    finally:
        shutil.copytree = saved


def test_fields_listed_for_the_wrong_file_are_named(make):
    swapped = {
        "inter": ["user_id", "item_id", "rating", "timestamp", "device"],
        "user": ["item_id", "title", "year", "genre"],
        "item": ["user_id", "gender", "age", "job"],
    }
    with pytest.raises(
        DataError, match="load_col lists 'genre', 'item_id', .* for tiny.user, but the file has no such field"
    ):
        make({}, load_col=swapped)


def test_an_item_that_is_there_twice_is_reported(make, caplog):
    dataset = make({"item": lambda lines: [*lines, "i2\tAnother Title\t1999\tDrama"]})
    assert dataset.num("item_id") == 65
    assert (
        "tiny.item: 1 rows repeat an id of an earlier row and are ignored; the first is line 66, 'i2'"
        in caplog.text
    )
    assert "Another Title" not in dataset.field2id_token["title"]


def test_quotes_swallow_no_rows(make):
    whole = make({})
    assert (len(whole), whole.num("user_id"), whole.num("item_id")) == (1315, 61, 65)
    quoted = make({"item": cell(1, {11: '"Heroes', 15: 'Villains"'})})
    assert (len(quoted), quoted.num("user_id"), quoted.num("item_id")) == (1315, 61, 65)
    assert '"Heroes' in quoted.field2id_token["title"]


def test_csv_quoting_is_a_setting(make, caplog):
    change = {"item": cell(1, {11: '"House ""B"""'})}
    assert '"House ""B"""' in make(change).field2id_token["title"]
    assert "tiny.item: quotes are read as ordinary characters, but look like CSV quoting" in caplog.text
    assert 'House "B"' in make(change, quoting="csv").field2id_token["title"]


def test_infinite_features_count_as_missing_and_are_reported(make, make_data, caplog):
    dataset = make({"item": cell(2, {5: "inf", 6: "-Infinity"})}, numerical_features=["year"])
    assert "tiny.item: 2 values of year are infinite and count as missing; the first is in line 5" in caplog.text
    parts = data_preparation(dataset.config, dataset)
    assert parts[0]._dataset.item_feat["year"].isfinite().all()

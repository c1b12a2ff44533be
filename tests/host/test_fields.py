"""Fields of a data set's files: each has a name of its own, and settings name fields that are there."""

import numpy as np
import pytest

from recbole_clickprompt.errors import DataError
from tests.host import test_interactions
from tests.host.test_interactions import COLUMNS, LABELS, TINY, cell, header, labels

make = test_interactions.make
INTER = ["user_id", "item_id", "rating", "timestamp", "device"]
SAME_NAME = {
    "label of an item": (
        {"item": header("year", "label")},
        "tiny.item has a field 'label', which LABEL_FIELD names",
    ),
    "label of a user": (
        {"user": header("age:token", "label:float")},
        "tiny.user has a field 'label', which LABEL",
    ),
    "rating": ({"item": header("year", "rating")}, "both .*tiny.item and .*tiny.inter have a field 'rating'"),
    "time": ({"user": header("age", "timestamp")}, "both .*tiny.user and .*tiny.inter have a field 'timestamp'"),
    "user and item": (
        {"item": header("year", "age")},
        "both .*tiny.item and .*tiny.user have a field 'age';",
    ),
    "other id": (
        {"item": header("year:float", "user_id:token")},
        "both .*tiny.item and .* have a field 'user_id'",
    ),
}


@pytest.mark.parametrize("case", SAME_NAME)
def test_a_field_takes_no_other_field_s_place(make, case):
    change, fault = SAME_NAME[case]
    with pytest.raises(DataError, match=f"{fault}.*rename_fields.*load_col"):
        make(change, load_col=None, text_fields={"user_id": "user"}, value_labels={})


def test_an_additional_file_has_ids_by_a_name_of_its_own(make, tmp_path):
    make({})
    (tmp_path / "data/tiny/tiny.ent").write_text("item_id:token\tvec:float\ni1\t0.5\ni2\t\n")
    settings = {"additional_feat_suffix": ["ent"]}
    settings["load_col"] = {"inter": INTER, **COLUMNS, "ent": ["item_id", "vec"]}
    with pytest.raises(
        DataError, match="both .*tiny.ent and .*tiny.inter have a field 'item_id'.*alias_of_item_id"
    ):
        make({}, **settings)
    (tmp_path / "data/tiny/tiny.ent").write_text("ent_item_id:token\tvec:float\ni1\t0.5\ni2\t\n")
    settings["alias_of_item_id"] = ["ent_item_id"]
    settings["load_col"] |= {"ent": ["ent_item_id", "vec"]}
    dataset = make({}, **settings)
    assert dataset.id2token("item_id", dataset.ent_feat["ent_item_id"]).tolist() == ["i1", "i2"]


def test_names_of_columns_of_our_own_are_free(make):
    dataset = make(
        {"inter": header("device", "_file_time")},
        load_col=None,
        text_fields={"user_id": "user", "_file_time": "device"},
    )
    train = dataset.build()[0]
    assert dataset.field2id_token["_file_time"][train.inter_feat["_file_time"]].tolist()[0] in (
        "tablet",
        "phone",
        "pc",
    )
    assert train.times.min() >= 1e9


PARTS = {
    "another type": (
        header("device:token", "device:float"),
        "tiny.valid.inter has device:float .*tiny.train.inter has",
    ),
    "a sequence": (
        header("device:token", "device:token_seq"),
        "tiny.valid.inter has device:token_seq in the header",
    ),
    "another name": (
        header("device", "gadget"),
        "tiny.valid.inter has no field 'device', which .*tiny.train.inter has",
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_of_an_exact_split_have_the_same_fields(make, tmp_path, case):
    change, fault = PARTS[case]
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    lines = (TINY / "tiny.inter").read_text().splitlines()
    for part in ("train", "valid", "test"):
        rows = change(lines) if part == "valid" else lines
        rows = [rows[0], *(row.rsplit("\t", 1)[0] + "\t1" for row in rows[1:200])]
        (folder / f"tiny.{part}.inter").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=f"{fault}.*all parts of an exact split"):
        make({}, load_col=None, benchmark_filename=["train", "valid", "test"])


SPLIT_BY_TIME = {
    "missing": (cell(3, {2: ""}), "1 without timestamp"),
    "infinite": (cell(3, {2: "inf"}), "line 2, column timestamp: the number is infinite"),
    "text": (header("timestamp:float", "timestamp:token"), "it must be timestamp:float"),
}


@pytest.mark.parametrize("case", SPLIT_BY_TIME)
def test_times_count_where_the_files_of_an_exact_split_are_not_there(make, case):
    change, fault = SPLIT_BY_TIME[case]
    with pytest.raises(DataError, match=f"tiny.inter.*{fault}"):
        make({"inter": change}, benchmark_filename=["train", "valid", "test"])


@pytest.mark.parametrize("time", ["1e300", "-1e19", "9223372036854775808"])
@pytest.mark.parametrize("order", ["TO", "RO"])
def test_a_time_beyond_64_bits_is_refused_by_line(make, time, order):
    split = {"eval_args": {"split": {"RS": [8, 1, 1]}, "order": order, "group_by": None, "mode": "labeled"}}
    with pytest.raises(DataError, match=r"tiny.inter, line 3, column timestamp: the time .* less than 2\*\*63"):
        make({"inter": cell(3, {3: time})}, **split)


def friends(kind, value):
    def change(lines):
        return [
            f"{lines[0]}\tfriend:{kind}",
            *(f"{line}\t{value if n == 3 else 1}" for n, line in enumerate(lines[1:], 2)),
        ]

    return change


ALIASES = {
    "a blank behind": ("token", "u2 ", "line 3, column friend: the id 'u2 ' is surrounded by blanks"),
    "a narrow blank": ("token", "\u202fu2", "line 3, column friend: the id .* is surrounded by blanks"),
    "in a sequence": (
        "token_seq",
        "u1 u2\u00a0",
        r"line 3, column friend: the id 'u2\\xa0' is surrounded by blanks",
    ),
    "blanks alone": ("token", "  ", "line 3, column friend: the id is missing, as '  ' contains only blanks"),
    "numbers": ("float", "3", "alias_of_user_id names 'friend', so it contains ids .* got friend:float"),
}


@pytest.mark.parametrize("case", ALIASES)
@pytest.mark.parametrize("setting", ["alias_of_user_id", "alias_of_item_id"])
def test_fields_that_share_ids_hold_ids(make, case, setting):
    kind, value, fault = ALIASES[case]
    fault = fault.replace("alias_of_user_id", setting)
    with pytest.raises(DataError, match=f"tiny.user.*{fault}"):
        make({"user": friends(kind, value)}, load_col=None, **{setting: ["friend"]})


def test_blanks_alone_are_a_missing_id(make):
    change = {"inter": cell(0, {7: "  ", 9: "\u00a0"})}
    with pytest.raises(DataError, match="tiny.inter: 2 without user_id, of 1500 rows; the first is in line 7"):
        make(change)
    assert len(make(change, drop_missing=True, val_interval=None)) == 1498


@pytest.mark.parametrize("load_col", [None, {"inter": INTER, **COLUMNS}])
def test_a_missing_id_field_is_told_with_all_fields_of_the_file(make, load_col):
    fault = (
        "tiny.inter has no field 'user_id', which USER_ID_FIELD names; its fields are 'uid', 'item_id', "
        "'rating', 'timestamp', 'device'"
    )
    with pytest.raises(DataError, match=fault):
        make({"inter": header("user_id", "uid")}, load_col=load_col)


RENAMED = {
    "not there": (
        {"devize": "device"},
        "rename_fields names 'devize' of .*tiny.inter, but the file has no such field; .*'device'",
    ),
    "a name that is there": (
        {"device": "rating"},
        "rename_fields gives 'device' of .*tiny.inter the name 'rating'",
    ),
}


@pytest.mark.parametrize("case", RENAMED)
def test_renamed_fields_are_there_and_get_free_names(make, case):
    names, fault = RENAMED[case]
    with pytest.raises(DataError, match=fault):
        make({}, rename_fields={"inter": names})


def test_a_column_of_text_takes_no_field_s_place(make):
    change = {"inter": prices("float\tprice_text:token", "1\tlow")}
    with pytest.raises(DataError, match="text_fields names 'price', whose text is stored as 'price_text'"):
        make(change, load_col=None, text_fields={"price": "price"})


def prices(kind, *values):
    """A further column of ``values`` in turn."""
    return lambda lines: [
        f"{lines[0]}\tprice:{kind}",
        *(f"{line}\t{values[n % len(values)]}" for n, line in enumerate(lines[1:])),
    ]


LABEL_SETTINGS = {
    "text_fields": {"label": "click"},
    "numerical_features": ["label"],
    "normalize_field": ["label"],
    "log_scale_fields": ["label"],
}


@pytest.mark.parametrize("setting", LABEL_SETTINGS)
def test_the_label_is_no_feature(make, setting):
    change = {"inter": labels(lambda rating: str(int(rating > 3)))}
    with pytest.raises(DataError, match=f"{setting} names 'label', which is the label; leave it out"):
        make(change, **LABELS, **{setting: LABEL_SETTINGS[setting]})


@pytest.mark.parametrize("setting", LABEL_SETTINGS)
def test_what_the_label_is_made_of_is_no_feature(make, setting):
    value = {"rating": "stars"} if setting == "text_fields" else ["rating"]
    with pytest.raises(DataError, match=f"{setting} names 'rating', from which threshold derives the label"):
        make({}, **{setting: value})


def test_there_is_one_label(make):
    change = {"inter": lambda lines: prices("float", "1", "5")(labels(lambda rating: "1")(lines))}
    with pytest.raises(
        DataError, match=r"both the field 'label' \(LABEL_FIELD\) and threshold, on 'price', define labels"
    ):
        make(change, **LABELS | {"load_col": None, "threshold": {"price": 3}})


@pytest.mark.parametrize("rating", [0, 6])
def test_normalize_all_leaves_labels_alone(make, rating):
    dataset = make({}, normalize_all=True, threshold={"rating": rating})
    assert set(dataset.inter_feat["label"]) == {int(rating == 0)}


@pytest.mark.parametrize(
    ("label", "fault"), [("1", "positive .*but negative rows"), ("0", "negative .*but positive rows")]
)
def test_labels_that_are_all_the_same_are_told(make, label, fault):
    dataset = make({"inter": labels(lambda rating: label)}, **LABELS)
    with pytest.raises(DataError, match=f"all 1500 rows of tiny are {fault} are needed too, as none are sampled"):
        dataset.build()


NUMBERS = {
    "none": ("float", ["NA"], {}, "no row of .*tiny.inter has a finite number"),
    "none, normalized": (
        "float",
        ["NA"],
        {"normalize_field": ["price"]},
        "no row of .*tiny.inter has a finite number",
    ),
    "none, discretized": (
        "float",
        [""],
        {"discretization": {"price": {"method": "ED", "bucket": 5}}},
        "no row of",
    ),
    "infinite": ("float", ["inf"], {}, "no row of .*tiny.inter has a finite number"),
    "empty sequences": ("float_seq", [""], {"normalize_field": ["price"]}, "no row of .*tiny.inter has"),
    "beyond float32": (
        "float",
        ["1e39", "1"],
        {},
        r"contains 1e\+39 in .*, and unscaled numbers are stored as float32, .* at most 3.4e\+38",
    ),
    "a sequence": (
        "float_seq",
        ["1 -1e39", "1"],
        {},
        r"contains -1e\+39 in .*, and unscaled numbers are stored as",
    ),
    "a range": (
        "float",
        ["1e308", "-1e308"],
        {"normalize_field": ["price"]},
        r"contains 1e\+308 in .*, and their mean",
    ),
    "a scaled sequence": (
        "float_seq",
        ["1e308 1"],
        {"normalize_field": ["price"]},
        r"contains 1e\+308 in .*, and their mean",
    ),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_number_features_that_cannot_be_reckoned_with_are_named(make, case):
    kind, values, settings, fault = NUMBERS[case]
    with pytest.raises(DataError, match=f"numerical_features names 'price', but .*{fault}"):
        make({"inter": prices(kind, *values)}, load_col=None, numerical_features=["price"], **settings)


def test_large_numbers_can_be_scaled(make):
    change = {"inter": prices("float", "1e39", "1", "")}
    dataset = make(change, load_col=None, numerical_features=["price"], normalize_field=["price"])
    assert sorted({value for value, _ in dataset.inter_feat["price"]})[::2] == [0, 1]


@pytest.mark.parametrize("kind", ["float", "float_seq"])
def test_logarithms_keep_the_sign_and_texts_keep_the_numbers(make, kind):
    values = ["-99", "0", "9", ""] if kind == "float" else ["-99 0 9", "9"]
    settings = {"numerical_features": ["price"], "log_scale_fields": ["price"], "text_fields": {"price": "price"}}
    settings |= {"load_col": None, "value_labels": {}}
    dataset = make({"inter": prices(kind, *values)}, **settings)
    assert set(dataset.field2id_token["price_text"][1:]) == ({"-99", "0", "9"} if kind == "float" else {*values})
    if kind == "float":
        numbers = {round(number, 6) for number, _ in dataset.inter_feat["price"]}
        mean = dataset.scales["price"].missing
        assert numbers == {round(number, 6) for number in (-np.log(100), 0, np.log(10), mean)}
        assert mean == pytest.approx((np.log(10) - np.log(100)) / 3, rel=0.1)
    scale = make({"inter": prices(kind, *values)}, normalize_field=["price"], **settings).scales["price"]
    assert (scale.low, scale.high) == (pytest.approx(-np.log(100)), pytest.approx(np.log(10)))


def test_only_numbers_have_a_logarithm(make):
    with pytest.raises(DataError, match="log_scale_fields names 'title', which is not a number field"):
        make({}, log_scale_fields=["title"])


@pytest.mark.parametrize("kind", ["float", "float_seq"])
def test_large_unscaled_numbers_are_reported(make, kind, caplog):
    make({"inter": prices(kind, "100000", "1")}, load_col=None, numerical_features=["price"])
    assert "the feature price ranges from 1 to 100000 and is not scaled" in caplog.text


def test_a_nul_is_found_in_any_encoding(make):
    change = {"inter": cell(0, {3: "u2+AAA-1", 4: "u2+AAA-2"})}
    with pytest.raises(DataError, match="tiny.inter, line 3, column user_id: a NUL character"):
        make(change, encoding="utf-7")

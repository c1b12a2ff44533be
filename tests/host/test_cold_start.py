"""The split for studies of cold start."""

import pytest
import torch

from recbole_clickprompt.errors import DataError, SettingError


def ids(part, field):
    return set(part._dataset.inter_feat[field].tolist())


def rows(part, *fields):
    return list(zip(*(part._dataset.inter_feat[name].tolist() for name in fields), strict=True))


@pytest.mark.parametrize("field", ["item_id", "user_id"])
def test_parts_share_no_id_and_hold_every_row_once(make_config, make_data, field):
    whole = sorted(row for part in make_data(make_config()) for row in rows(part, "user_id", "item_id", "label"))
    parts = make_data(make_config(cold_start=field))
    assert sorted(row for part in parts for row in rows(part, "user_id", "item_id", "label")) == whole
    found = [ids(part, field) for part in parts]
    number = len(set.union(*found))
    assert number == sum(map(len, found))
    assert [len(of_part) for of_part in found] == pytest.approx([0.8 * number, 0.1 * number, 0.1 * number], abs=1)
    for part in parts:
        times = part._dataset.times
        assert len(times) == len(part._dataset)
        assert torch.equal(times, times.sort().values)
        assert "timestamp" not in part._dataset.inter_feat


def test_the_seed_deals_and_shares_are_those_of_the_split(make_config, make_data):
    def held_out(seed):
        return ids(make_data(make_config(cold_start="item_id", seed=seed))[2], "item_id")

    assert held_out(1) == held_out(1) != held_out(2)
    halves = make_data(
        make_config(
            cold_start="item_id",
            eval_args={"split": {"RS": [2, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"},
        )
    )
    sizes = [len(ids(part, "item_id")) for part in halves]
    assert sizes[0] == pytest.approx(sum(sizes) / 2, abs=1)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"cold_start": "age"}, DataError, "user_id or item_id, got 'age'"),
        (
            {
                "eval_args": {
                    "split": {"LS": "valid_and_test"},
                    "order": "TO",
                    "group_by": "user",
                    "mode": "labeled",
                }
            },
            SettingError,
            "split: {RS",
        ),
        (
            {"eval_args": {"split": {"RS": [8, 1, 1]}, "order": "TO", "group_by": "user", "mode": "labeled"}},
            SettingError,
            "group_by: ~",
        ),
        (
            {"eval_args": {"split": {"RS": [1e6, 1, 1]}, "order": "TO", "group_by": None, "mode": "labeled"}},
            DataError,
            "too few for a split",
        ),
    ],
)
def test_what_cannot_be_split_so_is_refused(make_config, make_data, settings, error, words):
    with pytest.raises(error, match=words):
        make_data(make_config(**{"cold_start": "item_id", **settings}))


def test_rows_that_files_have_split_are_not_split_anew(make_config, make_data, tmp_path):
    (tmp_path / "parts").mkdir()
    for name in ("train", "valid", "test"):
        rows = [f"u{n % 3}\ti{n // 3}\t{1 + n % 5}" for n in range(30)]
        text = "\n".join(["user_id:token\titem_id:token\trating:float", *rows, ""])
        (tmp_path / "parts" / f"parts.{name}.inter").write_text(text)
    settings = {"text_fields": {"user_id": "user"}, "threshold": {"rating": 4}, "load_col": None}
    settings |= {"dataset": "parts", "data_path": str(tmp_path), "benchmark_filename": ["train", "valid", "test"]}
    make_data(make_config(**settings))
    with pytest.raises(SettingError, match="leave out one of the two"):
        make_data(make_config(cold_start="item_id", **settings))

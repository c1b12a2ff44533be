"""Profiles of users: what a row may know about its user, and what it never sees."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.user_profiles import profiles_by_block
from recbole_clickprompt.text.user_profiles import PROFILE
from recbole_clickprompt.trainer.fingerprint import differences, finetuning_inputs
from recbole_clickprompt.trainer.sampling import finetuning_loader

TINY = Path(__file__).parents[2] / "dataset_atomic/tiny"
BLOCKS = {"user_knowledge": "blocks", "user_blocks": 3, "profile_length": 4}


def rows_of(loader):
    """(user, item, time, label, items of its profile, block) of each row of a part."""
    dataset = loader._dataset
    batch = dataset[torch.arange(len(dataset))]
    profiles = dataset.user_profiles
    found = []
    for row, number in enumerate(batch[PROFILE].tolist()):
        user = int(batch["user_id"][row])
        assert int(profiles.users[number]) == user
        found.append(
            (user, int(batch["item_id"][row]), float(dataset.times[row]), int(batch["label"][row]),
             profiles.items_of(number), int(profiles.blocks[number]))
        )  # fmt: skip
    return found


def expected(rows, train, *, blocks, length):
    """For each row its block and the items of its profile, by loops."""
    period = sorted(row[2] for row in train)
    starts = [period[number * len(period) // blocks] for number in range(1, blocks)]
    found = []
    for user, _, time, *_ in rows:
        block = blocks if time > period[-1] else sum(start <= time for start in starts)
        until = [-np.inf, *starts, np.inf][block]
        clicks = [row for row in sorted(train, key=lambda row: row[2]) if row[0] == user and row[3]]
        found.append((block, [row[1] for row in clicks if row[2] < until][-length:]))
    return found


@pytest.mark.parametrize("order", ["TO", "RO"])
def test_a_row_shows_training_clicks_from_before_its_block(make_config, make_data, order):
    split = {"split": {"RS": [8, 1, 1]}, "order": order, "group_by": None, "mode": "labeled"}
    train, *others = map(rows_of, make_data(make_config(**BLOCKS, eval_args=split)))
    for rows in (train, *others):
        assert [(row[5], row[4]) for row in rows] == expected(rows, train, blocks=3, length=4)
        for row in rows:
            seen = {(item, user) for user, item, time, label, *_ in train if label and time < row[2]}
            assert all((item, row[0]) in seen for item in row[4])
    assert {row[5] for row in train} == {0, 1, 2}
    assert all(not row[4] for row in train if row[5] == 0)
    if order == "TO":
        assert max(len(row[4]) for row in others[0]) == 4


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_equals_loops_with_ties_and_rows_of_any_part(data):
    count = data.draw(st.integers(1, 25))
    numbers = [st.lists(st.integers(0, most), min_size=count, max_size=count) for most in (3, 5, 6)]
    users, items, times = map(data.draw, numbers)
    clicked, training = (data.draw(st.lists(st.booleans(), min_size=count, max_size=count)) for _ in range(2))
    training[0] = True
    blocks, length = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    profiles, numbers = profiles_by_block(
        users=np.array(users), items=np.array(items), times=np.array(times, dtype=float),
        clicked=np.array(clicked), training=np.array(training), num_users=4, num_blocks=blocks, length=length,
    )  # fmt: skip
    rows = list(zip(users, items, times, clicked, strict=True))
    train = [row for row, is_training in zip(rows, training, strict=True) if is_training]
    for row, number, (block, shown) in zip(
        rows, numbers.tolist(), expected(rows, train, blocks=blocks, length=length), strict=True
    ):
        assert (int(profiles.users[number]), int(profiles.blocks[number])) == (row[0], block)
        assert profiles.items_of(number) == shown
    for user in range(4):  # served: all training clicks
        clicks = [row for row in sorted(train, key=lambda row: row[2]) if row[0] == user and row[3]]
        assert profiles.items_of(user) == [row[1] for row in clicks][-length:]
    assert len(set(profiles.keys(["a", "b", "c", "d"]))) == len(profiles)
    assert profiles.keys(["a", "b", "c", "d"])[:2] == [f"a@{blocks}", f"b@{blocks}"]


def test_static_profiles_have_one_per_user_and_no_items(make_config, make_data):
    for loader in make_data(make_config(user_knowledge="static")):
        dataset = loader._dataset
        batch = dataset[torch.arange(len(dataset))]
        assert torch.equal(batch[PROFILE], batch["user_id"])
        assert len(dataset.user_profiles) == dataset.num("user_id")
        assert dataset.user_profiles.items_of(3) == []
        assert dataset.user_profiles.keys(["[PAD]", "u1", "u2"] * 99)[:3] == ["[PAD]", "u1", "u2"]


def test_without_the_setting_rows_have_no_such_column(make_config, make_data):
    loader = make_data(make_config())[0]
    assert PROFILE not in next(iter(loader)).columns
    assert loader._dataset.user_profiles is None


def test_batches_of_the_loaders_have_the_number_and_no_hidden_column(make_config, make_data):
    for loader in make_data(make_config(**BLOCKS, history_pooling="mean", history_length=3)):
        batch = next(iter(loader))
        batch = batch[0] if isinstance(batch, tuple) else batch
        assert batch[PROFILE].dtype == torch.int64
        assert not [name for name in batch.columns if ":" in name]


def test_new_users_have_the_static_profile(make_config, make_data):
    train, *others = map(rows_of, make_data(make_config(**BLOCKS, cold_start="user_id")))
    assert any(row[4] for row in train)
    assert not any(row[4] for rows in others for row in rows)


def test_rows_that_train_rows_leaves_out_are_in_no_profile(make_config, make_data):
    config = make_config(**{**BLOCKS, "profile_length": 100}, train_rows=200)
    parts = make_data(config)
    drawn = rows_of(finetuning_loader(config, parts[0]))
    assert len(drawn) == 200
    rows = rows_of(parts[0])
    assert [(row[5], row[4]) for row in rows] == expected(rows, drawn, blocks=3, length=100)


def test_clicks_at_or_after_a_rows_block_do_not_change_its_profile(make_config, make_data, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(TINY, folder)
    header, *lines = (TINY / "tiny.inter").read_text().splitlines()
    lines.sort(key=lambda line: int(line.split("\t")[3]))

    def shown(changed):
        (folder / "tiny.inter").write_text("\n".join([header, *changed, ""]))
        parts = make_data(make_config(**BLOCKS, data_path=str(tmp_path)))
        items = parts[0]._dataset.field2id_token["item_id"]
        users = parts[0]._dataset.field2id_token["user_id"]
        return [(users[row[0]], row[2], row[5], [items[item] for item in row[4]]) for row in rows_of(parts[0])]

    before = shown(lines)
    start = min(time for _, time, block, _ in before if block == 2)
    rows = [line.split("\t") for line in lines]
    flipped = [
        "\t".join([*row[:2], str(6 - int(row[2])) if float(row[3]) >= start else row[2], *row[3:]]) for row in rows
    ]
    after = shown(flipped)
    assert len(after) == len(before)
    assert [row for row in after if row[1] < start] == [row for row in before if row[1] < start]
    assert [row[3] for row in after if row[2] == 2] == [row[3] for row in before if row[2] == 2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"TIME_FIELD": "moment"}, r"user_knowledge: blocks needs the time of each row.*'moment' \(TIME_FIELD\)"),
        ({"user_blocks": 0}, "user_blocks must be an integer, 1 or more, got 0"),
        ({"user_knowledge": "all"}, "user_knowledge must be one of blocks, static, none"),
    ],
)
def test_settings_that_cannot_be_are_refused(make_config, make_data, given, words):
    with pytest.raises(SettingError, match=words):
        make_data(make_config(**{**BLOCKS, **given}))


def test_profiles_are_part_of_what_a_run_is_determined_by(make_config, make_data):
    config = make_config("ClickPromptNoPLM", **BLOCKS)
    train, valid, _ = make_data(config)
    ours = finetuning_inputs(config, train, valid, None, reads_text=False)
    train._dataset.user_profiles.items[0] += 1
    assert differences(ours, finetuning_inputs(config, train, valid, None, reads_text=False)) == [
        "the user profiles"
    ]

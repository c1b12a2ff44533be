"""Rows that processes share by user: together the parts, ids, numbers and histories of a single process."""

import logging
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_clickprompt.distributed import ProcessGroup
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.evaluation.data_report import data_text
from recbole_clickprompt.host.check_row_sharding import check_row_sharding
from recbole_clickprompt.host.data_report import data_report
from recbole_clickprompt.host.line_range import LineRange
from recbole_clickprompt.host.row_order import among_first, time_keys
from recbole_clickprompt.methods.registry import find_method
from tests.ranks import on_ranks

SHARED = {"row_sharding": "user", "train_stage": "finetune", "baselines": False, "backbone": "DeepFM"}
TO = {"split": {"RS": [8, 1, 1]}, "order": "TO", "group_by": None, "mode": "labeled"}
HEADER = "user_id:token\titem_id:token\tlabel:float\ttimestamp:float\tprice:float\ttags:token_seq\tsizes:float_seq"


def write_rows(folder, name="clicks", *, rows=300, users=23, seed=3, line_end="\n"):
    """A file with repeated times, missing and unequal values, and users with very unequal numbers of rows."""
    rng = random.Random(seed)
    lines = [HEADER]
    for _ in range(rows):
        user = f"u{min(int(rng.expovariate(0.2)), users - 1)}"
        words = " ".join(rng.choice("abcdefghij") for _ in range(rng.randrange(4)))
        sizes = " ".join(f"{rng.random():.3f}" for _ in range(rng.randrange(3)))
        price = rng.choice(["", f"{rng.uniform(-5, 300):.2f}"])
        cells = [
            user,
            f"i{rng.randrange(40)}",
            str(rng.randrange(2)),
            str(rng.randrange(-9, 60)),
            price,
            words,
            sizes,
        ]
        lines.append("\t".join(cells))
    path = Path(folder) / "clicks" / f"{name}.inter"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((line_end.join(lines) + line_end).encode())
    return path


def settings_of(folder, **settings):
    return {
        "data_path": str(folder), "load_col": None, "gpu_id": "", "numerical_features": ["price"],
        "normalize_field": ["price"], "history_length": 4, "history": "all", "history_pooling": "mean",
        "embedding_size": 4, "unused_col": {"inter": ["timestamp"]},
        "text_fields": {"item_id": "item", "price": "price"}, **settings,
    }  # fmt: skip


def load(settings, model="ClickPromptNoPLM"):
    config = Config(model, "clicks", None, settings)
    init_seed(config["seed"], True)
    return data_preparation(config, create_dataset(config))


def parts_of(settings):
    """Of each part the rows as plain values with what orders them; and what is equal in all processes."""
    parts = []
    data = load(settings)
    for loader in data:
        dataset = loader._dataset
        batch = dataset[torch.arange(len(dataset))]
        columns = {
            **{name: [batch[name].tolist()] for name in ("user_id", "item_id", "label", "price_text")},
            "tags": [[[i for i in row if i] for row in batch["tags"].tolist()]],
            "price": [np.round(batch["price"].numpy(), 6).tolist()],
            "sizes": [[round(sum(row), 5) for row in batch["sizes"].tolist()]],
            "history": [
                batch["item_id_list"].tolist(),
                batch["label_list"].tolist(),
                batch["item_length"].tolist(),
            ],
            "time": [dataset.times.tolist()],
        }
        rows = list(zip(*(values for group in columns.values() for values in group), strict=True))
        parts.append((rows, None if dataset.order is None else dataset.order.tolist()))
    train = data[0]._dataset
    scale, report = train.scales["price"], data_report([loader._dataset for loader in data])
    return parts, {
        "tokens": {name: tokens.tolist() for name, tokens in train.field2id_token.items()},
        "lengths": dict(train.field2seqlen),
        "scale": [round(number, 9) for number in (scale.missing, scale.low, scale.high)],
        "report": [data_text(report), report.timeline.to_dict(), report.frequency.to_dict()],
    }


CASES = {
    "by time": {"eval_args": TO},
    "at random": {"eval_args": {**TO, "order": "RO"}},
    "by time within users": {"eval_args": {**TO, "group_by": "user"}},
    "at random within users": {"eval_args": {**TO, "order": "RO", "group_by": "user"}},
    "the last rows of users": {"eval_args": {**TO, "split": {"LS": "valid_and_test"}}},
    "new users": {"eval_args": TO, "cold_start": "user_id"},
    "some rows": {"eval_args": TO, "val_interval": {"timestamp": "[0,40]"}},
    "files": {"eval_args": TO, "benchmark_filename": ["a", "b", "c"]},
}


def all_cases(settings):
    """Of a process, ``parts_of`` in each case."""
    return {name: parts_of({**settings, **case}) for name, case in CASES.items()}


def test_processes_together_have_the_rows_of_one_in_their_order(tmp_path):
    write_rows(tmp_path)
    # Of two items that rows have, nothing is known, and two others have no row
    items = [f"i{number}\t{'red' if number % 3 else ''}\n" for number in range(41, 1, -1)]
    (tmp_path / "clicks/clicks.item").write_text("item_id:token\tcolor:token\n" + "".join(items))
    for number, name in enumerate("abc"):
        write_rows(tmp_path, f"clicks.{name}", rows=60 + 20 * number, seed=number)
    settings = settings_of(tmp_path, **SHARED)
    (alone,) = on_ranks(all_cases, {**settings, "row_sharding": "none"}, world=1)
    ranks = on_ranks(all_cases, settings, world=3)
    for case, (parts, common) in alone.items():
        for number, (rows, _) in enumerate(parts):
            shares = [rank[case][0][number] for rank in ranks]
            together = sorted(
                (tuple(key), row) for rows, order in shares for row, key in zip(rows, order, strict=True)
            )
            assert [row for _, row in together] == rows, case
            users = [{row[0] for row in share} for share, _ in shares]
            assert sum(map(len, users)) == len(set().union(*users)), case  # no user is in two processes
        assert all(rank[case][1] == common for rank in ranks), case


def test_a_single_process_has_all_rows_as_without_the_setting(tmp_path):
    write_rows(tmp_path)
    settings = settings_of(tmp_path, **SHARED, eval_args=TO)
    assert parts_of(settings) == parts_of({**settings, "row_sharding": "none"})


@pytest.mark.parametrize("parts", [1, 2, 5, 400])
def test_ranges_of_lines_are_the_file(tmp_path, parts):
    path = write_rows(tmp_path, rows=50, line_end="\r\n")
    ranges = [LineRange.of(path, number, parts) for number in range(parts)]
    content = path.read_bytes()
    assert b"".join(lines.read() for lines in ranges) == content[content.index(b"\n") + 1 :]
    first = [content[: lines.begin].count(b"\n") + 1 for lines in ranges]
    assert [lines.first_line() for lines in ranges] == first
    assert [lines.line_of(0) for lines in ranges if lines.have_content()] == sorted(set(first) - {52})


def test_ranges_of_a_file_without_rows_are_empty(tmp_path):
    for content in (b"", b"user_id:token\n"):
        (tmp_path / "clicks.inter").write_bytes(content)
        ranges = [LineRange.of(tmp_path / "clicks.inter", number, 3) for number in range(3)]
        assert [lines.read() for lines in ranges] == [b"", b"", b""]


def error_of(settings):
    with pytest.raises((DataError, SettingError)) as caught:
        load(settings)
    return str(caught.value)


def errors_of(cases):
    return [error_of(settings) for settings in cases]


def test_damaged_lines_are_reported_by_all_processes_with_their_place_in_the_file(tmp_path):
    damages = {
        "a value too many": (
            lambda line: line + b"\tmore",
            r"clicks.inter, line 250: 8 fields where 7 are expected",
        ),
        "no number": (
            lambda line: line.replace(b"\t", b"\tx", 3),
            r"line 250, column \S+: 'x\S*' is not a number",
        ),
        "bad encoding": (lambda line: line[:1] + b"\xff" + line[2:], r"line 250, column 2: byte 0xff is no utf-8"),
        "no user": (
            lambda line: line[line.index(b"\t") :],
            r"1 without user_id, of \d+ rows; the first is in line 250",
        ),
        "a NUL": (lambda line: line[:1] + b"\0" + line[2:], r"line 250, column 2: a NUL character"),
    }
    cases = []
    for number, (damage, _) in enumerate(damages.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = write_rows(folder)
        lines = path.read_bytes().split(b"\n")
        lines[249] = damage(lines[249])
        path.write_bytes(b"\n".join(lines))
        cases.append(settings_of(folder, **SHARED, eval_args=TO))
    first, second = on_ranks(errors_of, cases)
    assert first == second
    for message, (_, pattern) in zip(first, damages.values(), strict=True):
        assert "\n" not in message
        assert message.endswith("(rank 1 of 2 processes, which reads from line 150 on)")
        assert re.search(pattern, message), message


def test_fewer_users_than_processes_and_other_data_that_cannot_be_shared(tmp_path):
    for name, changes in {"few": {"users": 2}, "two rows": {"rows": 2}, "usual": {}}.items():
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name, **changes)
    cases = [
        settings_of(tmp_path / "few", **SHARED, eval_args=TO),
        settings_of(tmp_path / "two rows", **SHARED, eval_args=TO),
        settings_of(tmp_path / "usual", **SHARED, eval_args=TO, discretization={"price": {"method": "LD"}}),
        settings_of(tmp_path / "usual", **SHARED, eval_args={**TO, "split": {"RS": [9.9, 0.1, 0]}}),
    ]
    first, *others = on_ranks(errors_of, cases, world=3)
    assert others == [first, first]
    assert first[0].endswith(
        "the 300 rows of clicks have 2 users for 3 processes; start at most 2, or leave row_sharding out"
    )
    assert "the 2 rows of clicks have " in first[1]
    assert "row_sharding: user does not support discretization of 'price', a field of rows" in first[2]
    assert "the test part of clicks must contain both classes, got 0 positive and 0 negative rows" in first[3]


def warnings_of(settings):
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    data = load(settings)
    return messages, sum(len(loader._dataset) for loader in data)


def test_dropped_rows_of_all_processes_are_reported_by_the_first(tmp_path):
    path = write_rows(tmp_path)
    lines = path.read_text().split("\n")
    for number in (20, 200, 201):
        lines[number] = lines[number][lines[number].index("\t") :]
    path.write_text("\n".join(lines))
    ranks = on_ranks(warnings_of, settings_of(tmp_path, **SHARED, eval_args=TO, drop_missing=True))
    dropped = [message for message in ranks[0][0] if "drop_missing" in message]
    assert [message.split(": ", 1)[1].split(",")[0] for message in dropped] == [
        "1 without user_id",
        "2 without user_id",
    ]
    assert "the first is in line 21;" in dropped[0]
    assert "the first is in line 201;" in dropped[1]
    assert sum(rows for _, rows in ranks) == 297


def test_rows_among_the_first_are_found_by_all_keys():
    keys = np.stack([time_keys(pd.Series([-3.5, -0.0, 0.0, 2.0, 2.0])), np.arange(5)], axis=1)
    assert np.lexsort(keys.T[::-1]).tolist() == [0, 1, 2, 3, 4]
    assert keys[1, 0] == keys[2, 0]
    assert [among_first(keys, count, ProcessGroup()) for count in range(6)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_stage": "all"}, "requires train_stage: finetune, got 'all'"),
        ({"baselines": True}, "requires baselines: False, got True, as trivial baselines are computed from all"),
        ({"train_rows": 5}, "requires train_rows: ~, got 5"),
        ({"quoting": "csv"}, "requires quoting: ~, got 'csv', as a quoted value may contain the end of a line"),
        ({"user_inter_num_interval": "[5,inf)"}, r"requires user_inter_num_interval: ~, got '\[5,inf\)'"),
    ],
)
def test_settings_that_need_all_rows(changes, message):
    settings = {
        "row_sharding": "user", "train_stage": "finetune", "baselines": False, "warm_start": None,
        "train_rows": None,
        "train_negatives": 1.0, "evals_per_epoch": 1, "rm_dup_inter": None, "user_inter_num_interval": "[0,inf)",
        "item_inter_num_interval": None, "quoting": None, "worker": 0,
    }  # fmt: skip
    check_row_sharding(settings, find_method("ClickPromptNoPLM"))
    with pytest.raises(SettingError, match=message):
        check_row_sharding({**settings, **changes}, find_method("ClickPromptNoPLM"))
    with pytest.raises(SettingError, match="row_sharding: user is not supported by PTab; leave row_sharding out"):
        check_row_sharding(settings, find_method("PTab"))

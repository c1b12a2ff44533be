"""KDD Cup 2012, track 2: which rows are kept, their texts, and what is wrong with a line."""

import csv
import gzip
import shutil
import zipfile

import numpy as np
import polars as pl
import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.data.convert.catalog import RECIPES, prepare
from recbole_clickprompt.data.convert.distinct_rows import DistinctRows
from recbole_clickprompt.data.convert.kdd2012 import is_sampled
from recbole_clickprompt.data.convert.number_lines import LIST, NUMBER, read_number_lines
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.errors import DataError

from .lookalike import KDD2012_FILES, kdd2012

LINE = "0\t1\t{url}\t7\t3\t2\t1\t5\t5\t5\t5\t{user}\n"


def table(path):
    """Rows of a file as dictionaries of texts, by the names in the header without their types."""
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [dict(zip((name.partition(":")[0] for name in header), row, strict=True)) for row in rows]


def lines_of(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def split_mix(user):
    """The first number of SplitMix64 with the seed ``user``, in integers of any size."""
    mask = (1 << 64) - 1
    mixed = (user + 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return mixed ^ (mixed >> 31)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return kdd2012(tmp_path_factory.mktemp("kdd") / "raw")


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("kdd-out")
    return prepare("kdd2012", raw, out), out / "kdd2012"


def test_a_tenth_of_the_users_is_chosen_by_a_hash_that_is_the_same_everywhere():
    assert split_mix(0) == 0xE220A8397B1DCDAF  # as published with SplitMix64
    users = np.array([*range(1000), 12345678, (1 << 64) - 1], dtype=np.uint64)
    assert is_sampled(users).tolist() == [split_mix(int(user)) < (1 << 64) // 10 for user in users]
    assert is_sampled(np.arange(1_000_000, dtype=np.uint64)).mean() == pytest.approx(0.1, abs=0.001)
    assert not is_sampled(np.zeros(1, dtype=np.uint64))[0]


def test_every_line_of_a_chosen_user_is_a_row_in_the_order_of_the_file(raw, prepared):
    counts, folder = prepared
    lines = lines_of(raw / "training.txt")
    expected = [line for line in lines if split_mix(int(line[-1])) < (1 << 64) // 10]
    rows = table(folder / "kdd2012.inter")
    names = ["url_id", "ad_id", "advertiser_id", "depth", "position"]
    names += ["query_id", "keyword_id", "title_id", "description_id", "user_id"]
    assert [[row[name] for name in names] for row in rows] == [line[2:] for line in expected]
    assert [(row["num_clicks"], row["num_impressions"]) for row in rows] == [(a, b) for a, b, *_ in expected]
    assert [row["click"] for row in rows] == ["1" if int(line[0]) else "0" for line in expected]
    assert (counts.raw_rows, counts.rows) == (len(lines), len(expected))
    assert counts.positive == sum(row["click"] == "1" for row in rows)
    assert counts.users == len({line[-1] for line in expected})
    assert counts.items == len({line[3] for line in expected})
    assert any(int(line[1]) > 1 for line in expected)
    assert "0" not in {row["user_id"] for row in rows}


def test_ids_become_the_tokens_of_the_four_files_and_unknown_ones_are_missing(raw, prepared):
    counts, folder = prepared
    rows = table(folder / "kdd2012.inter")
    files = dict(zip(("query", "keyword", "title", "description"), KDD2012_FILES[2:], strict=True))
    for name, file in files.items():
        tokens = {number: text.replace("|", " ") for number, text in lines_of(raw / file)}
        assert [row[name] for row in rows] == [tokens.get(row[f"{name}_id"], "") for row in rows]
        unknown = {row[f"{name}_id"] for row in rows} - tokens.keys()
        assert any(note.startswith(f"{len(unknown)} of ") and file in note for note in counts.notes)
    users = {row["user_id"]: (row["gender"], row["age"]) for row in table(folder / "kdd2012.user")}
    profiles = {user: tuple(profile) for user, *profile in lines_of(raw / "userid_profile.txt")}
    assert users.keys() == {row["user_id"] for row in rows}
    assert all(profile == profiles.get(user, ("", "")) for user, profile in users.items())
    assert ("", "") in users.values()
    ads = {row["ad_id"]: row for row in table(folder / "kdd2012.item")}
    assert ads.keys() == {row["ad_id"] for row in rows}
    first = {row["ad_id"]: row for row in reversed(rows)}
    for ad, row in ads.items():
        assert all(row[f"ad_{name}"] == first[ad][name] for name in ("title", "keyword", "description"))


def test_temporary_files_are_removed(prepared):
    names = sorted(path.name for path in prepared[1].iterdir())
    assert names == ["kdd2012.inter", "kdd2012.item", "kdd2012.user"]


@pytest.mark.parametrize("form", ["zip", "gz"])
def test_an_archive_gives_the_same_files(form, raw, prepared, tmp_path):
    if form == "zip":
        source = tmp_path / "track2.zip"
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in KDD2012_FILES:
                archive.write(raw / file, f"track2/{file}")
    else:
        source = tmp_path / "training.txt.gz"  # one of several files
        for file in KDD2012_FILES:
            (tmp_path / f"{file}.gz").write_bytes(gzip.compress((raw / file).read_bytes()))
    assert prepare("kdd2012", source, tmp_path / "out") == prepared[0]
    for file in prepared[1].iterdir():
        assert (tmp_path / "out" / "kdd2012" / file.name).read_bytes() == file.read_bytes()


def test_the_command_prints_counts_of_users_and_items_next_to_the_published_ones(raw, capsys):
    assert main(["prepare", "kdd2012", "--raw", str(raw)]) == 0
    out = capsys.readouterr().out
    for name, published in (("users", "2,202,355"), ("items", "288,794"), ("rows", "13,624,635")):
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert published in line, line
    assert "149,639,105" in out
    assert "items are ads (ad_id); a row is a line of training.txt" in out
    unknown = sum(line[-1] == "0" for line in lines_of(raw / "training.txt"))
    assert f"User 0 (unknown, {unknown:,} raw rows) is not among them" in out
    assert RECIPES["kdd2012"].license in out


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.consent])
def test_what_needs_a_login_is_not_asked_for_without_raw(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "recbole_clickprompt.data.convert.catalog.fetch", lambda *_, **__: pytest.fail("asked for")
    )
    assert main(["prepare", name, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert "cannot be downloaded by a program" in line
    for part in ("log in", "accept the rules", RECIPES[name].files[0].url, f"prepare {name} --raw "):
        assert part in line
    assert line.endswith(f"--out {tmp_path / 'out'}`")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    assert "but for kdd2012" in " ".join(capsys.readouterr().out.split())


def test_only_this_data_set_needs_a_login():
    assert [name for name, recipe in RECIPES.items() if recipe.consent] == ["kdd2012"]
    assert all("kaggle" not in file.url for name in RECIPES.keys() - {"kdd2012"} for file in RECIPES[name].files)


TRAINING = {  # what is in the place of the address
    "a word": (5, "x1"),
    "nothing": (2, ""),
    "a sign": (2, "-1"),
    "65 bits": (2, str(1 << 64)),
    "a return": (4, "1\r2"),
    "a nul": (1, "\0"),
}
FAULTS = {
    "a column too few": ("training.txt", 3, "0\t1\t2\n", "line 3: 3 columns where 12 are expected"),
    "a blank line": ("training.txt", 6001, "\n", "line 6001: 1 columns where 12 are expected"),
    "cut off": ("training.txt", 6001, "0\t1\t77", "line 6001: 3 columns where 12 are expected"),
    "a list": ("userid_profile.txt", 2, "1\t1|2\t1\n", "line 2, column gender: '1|2' is not a whole number"),
    "an empty token": ("titleid_tokensid.txt", 7, "3\t5||6\n", "line 7, column text: '5||6' is not a list"),
    "commas": ("queryid_tokensid.txt", 7, "3\t5,6\n", "line 7, column text: '5,6' is not a list"),
    "no id": ("descriptionid_tokensid.txt", 1, "\t5\n", "line 1, column id: '' is not a whole number"),
    **{
        case: (
            "training.txt",
            line,
            LINE.format(url=url, user=4),
            f"line {line}, column url_id: {url!r} is not a whole number",
        )
        for case, (line, url) in TRAINING.items()
    },
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_bad_line_is_one_error_with_file_and_line_and_leaves_nothing(case, raw, tmp_path):
    file, number, line, message = FAULTS[case]
    shutil.copytree(raw, tmp_path / "raw")
    lines = (raw / file).read_text().splitlines(keepends=True)
    lines.insert(number - 1, line)
    (tmp_path / "raw" / file).write_bytes("".join(lines).encode())
    with pytest.raises(DataError) as caught:
        prepare("kdd2012", tmp_path / "raw", tmp_path / "out")
    assert str(caught.value).startswith(f"{file}, ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_windows_line_ends_and_a_last_line_without_end_are_read(raw, prepared, tmp_path):
    shutil.copytree(raw, tmp_path / "raw")
    content = (raw / "training.txt").read_bytes()
    (tmp_path / "raw" / "training.txt").write_bytes(content.replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert prepare("kdd2012", tmp_path / "raw", tmp_path / "out") == prepared[0]


def test_odd_lines_are_kept_and_counted(raw, tmp_path):
    shutil.copytree(raw, tmp_path / "raw")
    user = next(user for user in range(1, 99) if split_mix(user) < (1 << 64) // 10)
    with (tmp_path / "raw" / "training.txt").open("a") as stream:
        stream.write(LINE.format(url=1, user=user).replace("0\t1", "9\t4", 1))
    with (tmp_path / "raw" / "userid_profile.txt").open("a") as stream:
        stream.write(f"{user}\t2\t6\n{user}\t2\t6\n")
    counts = prepare("kdd2012", tmp_path / "raw", tmp_path / "out")
    assert any("1 rows have more clicks than impressions and are kept" in note for note in counts.notes)
    assert any("userid_profile.txt has" in note and "the first line counts" in note for note in counts.notes)
    (row,) = [row for row in table(tmp_path / "out" / "kdd2012" / "kdd2012.inter") if row["num_clicks"] == "9"]
    assert (row["click"], row["num_impressions"]) == ("1", "4")


def test_without_a_chosen_user_or_a_file_it_says_so(raw, tmp_path):
    shutil.copytree(raw, tmp_path / "raw")
    (tmp_path / "raw" / "training.txt").write_text(LINE.format(url=1, user=0))
    with pytest.raises(DataError, match="none of the users of its 1 rows is among the tenth"):
        prepare("kdd2012", tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw" / "titleid_tokensid.txt").unlink()
    with pytest.raises(DataError, match="holds no titleid_tokensid.txt"):
        prepare("kdd2012", tmp_path / "raw", tmp_path / "out")


def test_blocks_of_any_size_give_the_same_rows(raw):
    columns = {"id": NUMBER, "text": LIST}
    files = RawFiles(raw)
    whole, parts = (
        list(read_number_lines(files, "titleid_tokensid.txt", columns, size=size)) for size in (1 << 24, 20)
    )
    assert len(parts) > 10 > len(whole)
    assert [row for frame, _ in parts for row in frame.rows()] == whole[0][0].rows()
    lines = [line for _, line in parts]
    assert lines == [1 + sum(len(frame) for frame, _ in parts[:n]) for n in range(len(parts))]


def test_first_rows_stay_the_first_ones_when_batches_are_merged(monkeypatch):
    monkeypatch.setattr("recbole_clickprompt.data.convert.distinct_rows._MERGED_FROM", 3)
    distinct, rng, seen = DistinctRows("key", "value"), np.random.default_rng(0), {}
    for batch in range(30):
        keys = rng.integers(0, 40, 7)
        distinct.add(pl.DataFrame({"key": keys, "value": [batch] * 7, "other": keys}))
        for key in keys.tolist():
            seen.setdefault(key, batch)
    assert dict(distinct.rows().rows()) == seen
    assert list(seen) == distinct.rows()["key"].to_list()
    assert distinct.numbers().tolist() == sorted(seen)

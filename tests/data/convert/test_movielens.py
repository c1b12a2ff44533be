"""MovieLens: counts, the paper's split, and values read back through RecBole; on made-up files and, where present,
on the original users, films and ratings."""

import csv
import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

import pytest
from recbole.data import create_dataset, data_preparation

from recbole_clickprompt.data.convert.catalog import prepare
from recbole_clickprompt.data.convert.split import split_sizes
from recbole_clickprompt.errors import DataError

from .lookalike import TITLES, ml_1m, ml_1m_rows

ROOT = Path(__file__).parents[3]
DATA_PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
ORIGINAL = Path(os.environ.get("RECBOLE_CP_ML_1M", ROOT.parent / "shared" / "data" / "ml-1m.tar.xz"))


def told_checksums(folder):
    """Files of ``folder`` whose sha256 ``docs/data.md`` lists; each must be the file's."""
    told = dict(re.findall(r"^\| `([\w.-]+)` \|.*\| `([0-9a-f]{64})` \|$", DATA_PAGE, re.MULTILINE))
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name in told}
    assert found == {name: told[name] for name in found}
    return set(found)


def rows_of(path):
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
    return header, rows


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (739_012, (591_208, 73_902, 73_902)),
        (1_031_171, (824_936, 103_117, 103_118)),
        (1_862_228, (1_489_782, 186_223, 186_223)),
        (20_122_040, (16_097_632, 2_012_204, 2_012_204)),
        (10, (8, 1, 1)),
    ],
)
def test_split_sizes_are_the_papers_for_all_four_data_sets(rows, sizes):
    assert split_sizes(rows) == sizes


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="9 rows are too few"):
        split_sizes(9)


def test_ml_1m_counts_split_and_order_are_exact(tmp_path):
    rows = ml_1m_rows()
    counts = prepare("ml-1m", ml_1m(tmp_path / "ml-1m.zip", rows), tmp_path / "out")
    kept = sorted((t, u, m, r) for u, m, r, t in rows if r != 3)
    assert counts.raw_rows == len(rows)
    assert counts.rows == len(kept)
    assert counts.positive == sum(r > 3 for *_, r in kept)
    # users, gender, age, job, zip code, films, titles without their year, first genres
    assert counts.vocabulary == 40 + 2 + 3 + 21 + 7 + 60 + len(TITLES) + 3
    start = 0
    for part, size in zip(("train", "valid", "test"), split_sizes(len(kept)), strict=True):
        header, found = rows_of(tmp_path / "out" / "ml-1m" / f"ml-1m.{part}.inter")
        assert header == ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
        expected = [[str(u), str(m), f"{r}.0", str(t)] for t, u, m, r in kept[start : start + size]]
        assert found == expected
        start += size
    assert start == len(kept)
    assert len(rows_of(tmp_path / "out" / "ml-1m" / "ml-1m.inter")[1]) == len(rows)


def test_ml_1m_reaches_the_model_as_it_was_published(tmp_path, make_config, make_data):
    prepare("ml-1m", ml_1m(tmp_path / "ml-1m.zip"), tmp_path / "out")
    parts = make_data(make_config(dataset="ml-1m", data_path=str(tmp_path / "out")))
    train = parts[0]._dataset
    assert [len(part._dataset) for part in parts] == list(split_sizes(sum(r != 3 for _, _, r, _ in ml_1m_rows())))
    assert set(train.field2id_token["movie_title"][1:]) == set(TITLES)
    assert set(train.field2id_token["genre"][1:]) == {"Comedy", "Drama", "Sci-Fi"}
    sentence = train.textualizer().sentence({key: int(train.inter_feat[key][0]) for key in ("user_id", "item_id")})
    assert sentence.startswith("user ID is ")
    assert any(f"age is {words}. job is " in sentence for words in ("under 18", "18-24", "25-34"))


def test_a_released_folder_without_the_split_files_works_unconverted(tmp_path, make_config, caplog):
    prepare("ml-1m", ml_1m(tmp_path / "ml-1m.zip"), tmp_path / "out")
    folder = tmp_path / "out" / "ml-1m"
    for part in ("train", "valid", "test"):
        (folder / f"ml-1m.{part}.inter").unlink()
    item = folder / "ml-1m.item"
    header, rows = rows_of(item)
    released = [
        "\t".join(["item_id:token", "movie_title:token_seq", *header[2:]]),
        *("\t".join(row) for row in rows),
    ]
    item.write_text("\n".join(released) + "\n")  # as RecBole's tools write it: no quoting
    config = make_config(dataset="ml-1m", data_path=str(tmp_path / "out"))
    parts = data_preparation(config, create_dataset(config))
    kept = sum(r != 3 for _, _, r, _ in ml_1m_rows())
    assert [len(part._dataset) for part in parts] == [kept - 2 * (kept // 10), kept // 10, kept // 10]
    titles = set(parts[0]._dataset.field2id_token["movie_title"])
    assert {'"Quoted" Beginnings', "None", "NA", "null"} <= titles
    assert "has no ml-1m.train.inter, so its rows are split as eval_args says" in caplog.text


BROKEN = {
    "rating": (
        {"ratings": b"1::1::5::978300000\n1::2::good::978300001\n"},
        r"ratings.dat, line 2, column rating: 'good'",
    ),
    "time": ({"ratings": b"1::1::5::yesterday\n"}, r"ratings.dat, line 1, column timestamp: 'yesterday'"),
    "user": (
        {"ratings": b"99::1::5::978300000\n"},
        r"ratings.dat, line 1, column user_id: '99' is not in users.dat",
    ),
    "item": (
        {"ratings": b"1::99::5::978300000\n"},
        r"ratings.dat, line 1, column item_id: '99' is not in movies.dat",
    ),
    "ragged": (
        {"movies": b"1::A (1990)::Drama\n2::B (1990)\n"},
        r"movies.dat, line 2: 2 fields where 3 are expected",
    ),
    "twice": (
        {"users": b"1::F::1::1::1\n1::F::1::1::1\n"},
        r"users.dat, line 2, column user_id: '1' is there twice",
    ),
    "mojibake": (
        {"movies": "1::Garçon (1990)::Drama\n".encode()},
        r"movies.dat, line 1, column 7: .*another encoding",
    ),
    "nul": ({"movies": b"1::A\0 (1990)::Drama\n"}, r"movies.dat, line 1, column 5: a NUL character"),
    "empty": ({"users": b""}, "users.dat is empty"),
    "few": ({"ratings": b"1::1::5::978300000\n"}, "1 rows are too few"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_files_that_are_not_the_publishers_leave_nothing_behind(tmp_path, case):
    changed, message = BROKEN[case]
    with pytest.raises(DataError, match=message):
        prepare("ml-1m", ml_1m(tmp_path / "ml-1m.zip", **changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ml_100k_is_the_one_in_the_wheel(tmp_path):
    import recbole

    wheel = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"
    _, ratings = rows_of(wheel / "ml-100k.inter")
    _, users = rows_of(wheel / "ml-100k.user")
    _, items = rows_of(wheel / "ml-100k.item")
    genres = [
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ]
    raw = tmp_path / "ml-100k"
    raw.mkdir()
    (raw / "u.data").write_text("".join("\t".join(row) + "\n" for row in ratings))
    (raw / "u.user").write_text("".join("|".join(row) + "\n" for row in users))
    lines = []
    for item, title, year, classes in items:
        flags = [str(int(genre in classes.split(" "))) for genre in genres]
        lines.append("|".join([item, f"{title} ({year})" if year else title, "", "", "", *flags]) + "\n")
    (raw / "u.item").write_text("".join(lines), encoding="latin-1")
    counts = prepare("ml-100k", raw, tmp_path / "out")
    assert (counts.raw_rows, counts.rows, counts.positive) == (100_000, 72_855, 55_375)
    assert rows_of(tmp_path / "out" / "ml-100k" / "ml-100k.user")[1] == users
    written = rows_of(tmp_path / "out" / "ml-100k" / "ml-100k.item")
    assert written[0] == ["item_id:token", "movie_title:token", "release_year:token", "class:token_seq"]
    assert [row[3] for row in written[1]] == [row[3] for row in items]
    parts = {f"ml-100k.{part}.inter" for part in ("train", "valid", "test")}
    assert told_checksums(tmp_path / "out" / "ml-100k") == parts
    assert told_checksums(ROOT / "dataset_atomic" / "tiny") == {"tiny.inter", "tiny.user", "tiny.item"}


def test_ml_latest_small_has_half_stars_and_no_users(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    stars = [0.5, 2.5, 3.0, 3.5, 4.0, 4.5]
    ratings = "".join(f"{n % 7},{n % 5},{stars[n % 6]},{1000 + n}\n" for n in range(60))
    (raw / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{ratings}")
    movies = '0,"Ü, The (1990)",Drama|War\n1,No Year,(no genres listed)\n2,None (2001),War\n3,D,War\n4,E,War\n'
    (raw / "movies.csv").write_text(f"movieId,title,genres\n{movies}")
    counts = prepare("ml-latest-small", raw, tmp_path / "out")
    assert (counts.raw_rows, counts.rows, counts.positive, counts.parts) == (60, 40, 20, (32, 4, 4))
    assert counts.vocabulary == 7 + 5 + 5 + 2
    _, items = rows_of(tmp_path / "out" / "ml-latest-small" / "ml-latest-small.item")
    assert items[:3] == [
        ["0", "Ü, The", "1990", "Drama War"],
        ["1", "No Year", "", ""],
        ["2", "None", "2001", "War"],
    ]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Original users.dat and movies.dat, and all ratings in each user's order; times are made up, see below."""
    if not ORIGINAL.is_file():
        pytest.skip(
            f"MovieLens 1M may not be passed on: there is no {ORIGINAL}; RECBOLE_CP_ML_1M names another place"
        )
    folder = tmp_path_factory.mktemp("ml-1m")
    with tarfile.open(ORIGINAL) as archive:
        files = {name: archive.extractfile(name).read() for name in archive.getnames() if not name.endswith(".py")}
    for name in ("users.dat", "movies.dat"):
        (folder / name).write_bytes(files[name])
    # Only 56,920 times are known, so each rating gets its number in the file: this is NOT the paper's global order
    ratings, number = io.StringIO(), 0
    for line in files["ratings_by_user.txt"].decode().splitlines():
        user, items, stars, _ = line.split("\t")
        for item, star in zip(items.split(), stars, strict=True):
            ratings.write(f"{user}::{item}::{star}::{number}\n")
            number += 1
    (folder / "ratings.dat").write_text(ratings.getvalue())
    return folder


def test_the_original_ml_1m_has_the_papers_counts_though_not_its_order(original, tmp_path, make_config):
    counts = prepare("ml-1m", original, tmp_path / "out")
    assert counts.raw_rows == 1_000_209
    assert (counts.rows, counts.positive) == (739_012, 575_281)
    assert counts.parts == (591_208, 73_902, 73_902)
    assert counts.vocabulary == 17_251
    _, items = rows_of(tmp_path / "out" / "ml-1m" / "ml-1m.item")
    assert len({row[1] for row in items}) == 3841
    assert told_checksums(tmp_path / "out" / "ml-1m") == {"ml-1m.user", "ml-1m.item"}
    dataset = create_dataset(make_config(dataset="ml-1m", data_path=str(tmp_path / "out")))
    assert sum(dataset.num(field) - 1 for field in dataset.config["text_fields"]) == 17_251

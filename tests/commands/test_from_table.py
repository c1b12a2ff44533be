"""``recbole-cp from-table``: a user's own file becomes a data set that trains."""

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from recbole.data import create_dataset

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.data.convert.parquet_blocks import reject_bomb
from recbole_clickprompt.host.properties import read_yaml
from recbole_clickprompt.settings.registry import declared

HEADER = ["customer_id", "country", "sku", "Product name", "price", "hour", "bought", "when"]
COLUMNS = ["--user=customer_id", "--item=sku", "--label=bought", "--name=shop"]
NAMES = ["None", '"Deluxe" set, red', "two\nlines", "tab\tbed", "NA"]


def rows(number=900):
    made = []
    for n in range(number):
        user, item = n * 7 % 31, n * 11 % 290
        when = f"2024-05-{1 + n // 60:02d} 12:{n % 60:02d}:00"
        made.append(
            [f"c{user}", ["NA", "DE"][user % 2], f"s{item}", NAMES[item % 5], item + 0.25, n % 23, n % 3 % 2, when]
        )
    return made


def write(path="clicks.csv", header=HEADER, body=None):
    with Path(path).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter="\t" if "tsv" in path else ",").writerows([header, *(body or rows())])
    return path


def error_of(capsys):
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def frame():
    return pl.DataFrame(rows(), schema=HEADER, orient="row")


def written(form):
    if form == "parquet":
        frame().with_columns(pl.col("when").str.to_datetime(), tags=pl.lit(["new", "red"])).write_parquet(
            "clicks.parquet"
        )
        return "clicks.parquet"
    if form == "csv.gz":
        Path("clicks.csv.gz").write_bytes(gzip.compress(Path(write()).read_bytes()))
    else:
        write(f"clicks.{form}")
    return f"clicks.{form}"


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "parquet"])
def test_a_table_becomes_atomic_files_and_a_property_file(form, capsys):
    assert main(["from-table", written(form), *COLUMNS, "--time=when"]) == 0
    out = capsys.readouterr().out
    assert "  user  user_id (token), country (token)\n" in out
    assert "  item  item_id (token), Product_name (token), price (float)\n" in out
    assert "  inter user_id (token), item_id (token), label (float), timestamp (float), hour (token)" in out
    tags = " tags is new red." if form == "parquet" else ""
    assert out.splitlines()[-1].strip() == (
        f"customer id is c0. country is NA. sku is s0. Product name is None. price is 0.25. hour is 0.{tags}"
    )
    with Path("dataset_atomic/shop/shop.inter").open(newline="") as stream:
        header, *found = csv.reader(stream, delimiter="\t")
    assert header[:4] == ["user_id:token", "item_id:token", "label:float", "timestamp:float"]
    assert found[0][:4] == ["c0", "s0", "0.0", "1714564800"]
    assert len(found) == 900


def test_the_property_file_is_valid_and_says_type_and_meaning_of_each_key():
    assert main(["from-table", write(), *COLUMNS, "--time=when"]) == 0
    path = Path("props/dataset/shop.yaml")
    top = [line for line in path.read_text().splitlines() if line[:1] not in ("", " ", "#")]
    assert all("# (" in line for line in top)
    settings = read_yaml(path)
    known = declared()
    assert all(known[key].accepts(value) for key, value in settings.items() if key in known)
    assert settings["load_col"]["user"] == ["user_id", "country"]
    assert list(settings["text_fields"].items())[:3] == [
        ("user_id", "customer id"),
        ("country", "country"),
        ("item_id", "sku"),
    ]
    assert settings["numerical_features"] == settings["normalize_field"] == ["price"]
    assert settings["eval_args"]["order"] == "TO"


def test_the_data_set_trains_and_its_values_are_the_tables(small, make_config, tmp_path):
    assert main(["from-table", write(), *COLUMNS, "--time=when"]) == 0
    data_path = str(tmp_path / "dataset_atomic")
    dataset = create_dataset(make_config(dataset="shop", data_path=data_path))
    written = {" ".join(name.split()) for name in NAMES}  # tabs and line breaks became blanks, as a note says
    assert set(dataset.field2id_token["Product_name"][1:]) == written
    assert set(dataset.field2id_token["country"][1:]) == {"NA", "DE"}
    assert [len(part) for part in dataset.build()] == [720, 90, 90]
    flags = ["--gpu_id=", "--epochs=1", "--embedding_size=4", "--mlp_hidden_size=[8]", "--show_progress=False"]
    assert main(["run", "-m", "DNN", "-d", "shop", *flags]) == 0


def test_ratings_get_a_threshold_and_without_time_the_order_is_random(capsys):
    body = [[*row[:6], 1 + n // 29 % 5, row[7]] for n, row in enumerate(rows())]
    assert main(["from-table", write(body=body), *COLUMNS]) == 0
    settings = read_yaml(Path("props/dataset/shop.yaml"))
    assert settings["threshold"] == {"rating": 4}
    assert settings["eval_args"]["order"] == "RO"
    assert "when" in settings["text_fields"]


def replaced(column, value, line=3):
    body = rows()
    body[line - 2][HEADER.index(column)] = value
    return {"body": body}


CASES = {
    "no column": ({"header": ["customer", *HEADER[1:]]}, [], "has no column 'customer_id'"),
    "duplicate header": ({"header": [*HEADER[:-1], "sku"]}, [], "line 1, column 8: 'sku' is in the header twice"),
    "no number": (replaced("bought", "yes"), [], "clicks.csv, line 3, column bought: 'yes' is no number"),
    "no user": (replaced("customer_id", ""), [], "clicks.csv, line 3, column customer_id: a value is missing"),
    "no time": (replaced("when", "soon"), [], "clicks.csv, line 3, column when: 'soon' is no number and no time"),
    "odd label": (replaced("bought", "70"), [], "column bought: the values 0, 1, 70 are no 0 and 1"),
    "threshold": ({}, ["--threshold=9"], "column bought: 0 of 900 rows are positive"),
    "ragged": (
        {"body": [["c1", "DE"], *rows()]},
        [],
        "clicks.csv, line 2: 2 values where the header has 8 columns",
    ),
    "nul": (replaced("Product name", "a\0"), [], "clicks.csv, line 3, column"),
    "same name": ({"header": [*HEADER[:3], "hour ", *HEADER[4:]]}, [], "would both be called hour"),
    "nothing": ({"header": HEADER, "body": [[]]}, [], "clicks.csv has a header and no rows"),
    "bad name": ({}, ["--name=../x"], "--name must be letters"),
    "setting": ({}, ["--epochs=1"], "unrecognized argument --epochs=1"),
    "same column": ({}, ["--item=customer_id"], "must be four different columns"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_table_that_cannot_be_used_is_told_and_nothing_is_written(case, capsys):
    changes, arguments, message = CASES[case]
    path = write(**changes)
    before = set(Path().rglob("*"))
    assert main(["from-table", path, *COLUMNS, "--time=when", *arguments]) == 2
    assert message in error_of(capsys)
    assert {p for p in set(Path().rglob("*")) - before if p.is_file()} == set()
    assert not Path("dataset_atomic/shop").exists()


def test_files_that_are_no_table_are_told(capsys):
    for name, content, message in (
        ("a.parquet", b"no parquet", "a.parquet is no parquet file"),
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv.gz", gzip.compress(b"x" * 9999)[:20], "a.csv.gz is cut off or damaged"),
        ("a.csv", b"customer_id,sku\n\xff,2\n", "a.csv, line 2, column 1: byte 0xff is no utf-8"),
        ("a.csv", b'customer_id,sku,bought\n1,"2,3\n', "a.csv, line 2: a quote is opened and never closed"),
    ):
        Path(name).write_bytes(content)
        assert main(["from-table", name, *COLUMNS]) == 2
        assert message in error_of(capsys)
    assert main(["from-table", "none.csv", *COLUMNS]) == 2
    assert "there is no file none.csv" in error_of(capsys)


def test_whole_numbers_of_a_float_column_are_written_without_a_fraction():
    frame().with_columns(year=pl.Series([1999.0, None, 2004.0, 0.5] * 300)[: len(frame())]).write_parquet(
        "a.parquet"
    )
    assert main(["from-table", "a.parquet", *COLUMNS]) == 0
    written = pl.concat(
        pl.read_csv(path, separator="\t", infer_schema=False).select(pl.col("^year:token$"))
        for path in Path("dataset_atomic/shop").iterdir()
        if "year:token" in path.read_text().splitlines()[0]
    )
    assert set(written["year:token"]) == {"1999", None, "2004", "0.5"}


def test_a_parquet_file_with_texts_of_another_encoding_is_refused(capsys):
    frame().with_columns(pl.lit("plain text").alias("note")).write_parquet(
        "damaged.parquet", compression="uncompressed"
    )
    damaged = Path("damaged.parquet").read_bytes().replace(b"plain text", b"plain\xff\xfe\xfdxt")
    Path("damaged.parquet").write_bytes(damaged)
    assert main(["from-table", "damaged.parquet", *COLUMNS]) == 2
    error = error_of(capsys)
    assert "damaged.parquet is no parquet file" in error
    assert "UTF8" in error


@pytest.mark.parametrize("listed", [False, True])
def test_a_parquet_file_whose_dictionary_stands_for_all_memory_is_refused(capsys, listed):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows, long = 100_000, "x" * 10**6
    values = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([long]))
    if listed:
        values = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), values)
    others = {"customer_id": ["a"] * rows, "bought": [0, 1] * (rows // 2)}
    pq.write_table(pa.table({"sku": values, **others}), "bomb.parquet")
    assert main(["from-table", "bomb.parquet", *COLUMNS]) == 2
    assert "bomb.parquet has more than 16 GiB of values when unpacked (column sku" in error_of(capsys)


def test_a_parquet_file_of_many_different_texts_is_no_bomb():
    body = frame()
    many = pl.concat([body] * (200_000 // len(body) + 1))
    many.with_columns(extra=pl.int_range(pl.len()).cast(pl.String).str.zfill(30) + "x").write_parquet("m.parquet")
    assert 0 < reject_bomb(Path("m.parquet")) < 1 << 30


def test_nothing_that_is_there_is_replaced(capsys):
    assert main(["from-table", write(), *COLUMNS]) == 0
    Path("props/dataset/shop.yaml").write_text("mine: 1\n")
    assert main(["from-table", "clicks.csv", *COLUMNS]) == 2
    assert "props/dataset/shop.yaml exists already" in error_of(capsys)
    assert Path("props/dataset/shop.yaml").read_text() == "mine: 1\n"
    Path("props/dataset/shop.yaml").unlink()
    assert main(["from-table", "clicks.csv", *COLUMNS]) == 2
    assert "dataset_atomic/shop already exists" in error_of(capsys)
    assert not Path("props/dataset/shop.yaml").exists()


def test_long_texts_are_cut_and_told(capsys):
    assert main(["from-table", write(**replaced("Product name", "x" * 200_000)), *COLUMNS]) == 0
    assert "1 values of Product_name had more than 2000 characters and were cut" in capsys.readouterr().out


TYPED = {
    "array": (pl.lit([1, 2], dtype=pl.Array(pl.Int64, 2)), "token_seq", "1 2"),
    "categorical": (pl.lit("red", dtype=pl.Categorical), "token", "red"),
    "enum": (pl.lit("red", dtype=pl.Enum(["red"])), "token", "red"),
    "list of categories": (pl.lit(["new"]).cast(pl.List(pl.Categorical)), "token_seq", "new"),
    "decimal": (pl.lit("1.50").cast(pl.Decimal(4, 2)), "token", "1.50"),
    "clock": (pl.time(12, 30), "token", "12:30:00"),
    "nothing": (pl.lit(None), "token", None),
}


@pytest.mark.parametrize("column", TYPED)
def test_columns_of_every_type_with_a_text_are_read(column, capsys):
    values, kind, text = TYPED[column]
    frame().with_columns(extra=values).write_parquet("clicks.parquet")
    assert main(["from-table", "clicks.parquet", *COLUMNS]) == 0
    out = capsys.readouterr().out
    assert f"extra ({kind})" in out
    assert (out.splitlines()[-1].partition("extra is ")[2].removesuffix(".") or None) == text


REFUSED = {
    "duration": pl.duration(seconds=5),
    "nested list": pl.lit([[1, 2]]).cast(pl.List(pl.List(pl.Int64))),
    "list of times": pl.concat_list(pl.duration(seconds=5)),
    "struct": pl.struct(a=pl.lit(1)),
    "bytes": pl.lit(b"a"),
}


@pytest.mark.parametrize("column", REFUSED)
def test_columns_without_a_text_are_told(column, capsys):
    frame().with_columns(extra=REFUSED[column]).write_parquet("clicks.parquet")
    assert main(["from-table", "clicks.parquet", *COLUMNS]) == 2
    assert "clicks.parquet, column extra: " in error_of(capsys)
    assert not Path("dataset_atomic/shop").exists()


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 1e300, 2**64 - 1, 1e19])
def test_a_time_that_is_no_number_of_seconds_is_told(time, capsys):
    times = pl.Series([time, *range(899)], dtype=pl.UInt64 if isinstance(time, int) else pl.Float64)
    frame().with_columns(when=times).write_parquet("clicks.parquet")
    assert main(["from-table", "clicks.parquet", *COLUMNS, "--time=when"]) == 2
    assert "clicks.parquet, line 1, column when: " in error_of(capsys)
    assert main(["from-table", write(**replaced("when", time, 2)), *COLUMNS, "--time=when"]) == 2
    assert "clicks.csv, line 2, column when: " in error_of(capsys)


@pytest.mark.parametrize("time", ["nan", "1e300", str(2**63), "9" * 60, "-inf"])
def test_a_time_in_text_that_is_no_number_of_seconds_is_told(time, capsys):
    body = [[*row[:-1], str(n)] for n, row in enumerate(rows())]
    body[0][-1] = time
    assert main(["from-table", write(body=body), *COLUMNS, "--time=when"]) == 2
    assert "clicks.csv, line 2, column when: " in error_of(capsys)


@pytest.mark.parametrize("dtype", [pl.Boolean, pl.Decimal(4, 2), pl.Categorical])
def test_labels_of_other_types_are_read(dtype):
    values = frame()["bought"].cast(pl.String if dtype == pl.Categorical else pl.Int64).cast(dtype)
    frame().with_columns(values).write_parquet("clicks.parquet")
    assert main(["from-table", "clicks.parquet", *COLUMNS]) == 0
    assert main(["from-table", write(), *COLUMNS[:3], "--name=same"]) == 0
    read = pl.read_csv("dataset_atomic/shop/shop.inter", separator="\t")["label:float"]
    assert read.equals(pl.read_csv("dataset_atomic/same/same.inter", separator="\t")["label:float"])


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    write()
    script = (
        "import resource, signal, sys, polars; from recbole_clickprompt.__main__ import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "sys.exit(main(sys.argv[1:]))"
    )
    Path("recbole-cp").write_text(script)  # a name by which the command line does not import RecBole
    command = [sys.executable, "-W", "ignore", "recbole-cp", "from-table", "clicks.csv", *COLUMNS]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    (line,) = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    assert "cannot be written: File too large" in line
    assert not Path("dataset_atomic").exists()
    assert not Path("props").exists()


def test_a_parquet_file_without_rows_is_refused(capsys):
    frame()[:0].write_parquet("clicks.parquet")
    assert main(["from-table", "clicks.parquet", *COLUMNS, "--time=when"]) == 2
    assert "clicks.parquet has no rows" in error_of(capsys)

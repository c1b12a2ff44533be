"""``recbole-cp from-table``: no row, label, time, number or id is dropped, changed or misread without a word."""

import csv
import gzip
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_clickprompt.__main__ import main

HEADER = ["user", "item", "y", "when", "price", "code"]
TABLE = {"user": [*"abcd"], "item": [*"efgh"], "y": [0, 1, 0, 1]}
COLUMNS = ["--user=user", "--item=item", "--label=y", "--name=own"]


def rows(number=300):
    return [[f"u{n % 7}", f"i{n % 11}", n % 2, 1_700_000_000 + n, n + 0.5, n % 5] for n in range(number)]


def write(cells=(), header=HEADER, path="own.csv", body=None):
    """The table with some cells replaced, each given by its line, its column and its value."""
    body = body or rows()
    for line, column, value in cells:
        body[line - 2][HEADER.index(column)] = value
    with Path(path).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *body])
    return path


def out_of(capsys, path, *arguments):
    assert main(["from-table", path, *COLUMNS, *arguments]) == 0
    return capsys.readouterr().out


def error_of(capsys, path, *arguments):
    assert main(["from-table", path, *COLUMNS, *arguments]) == 2
    assert not Path("dataset_atomic/own").exists()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def column(name):
    header, *found = [
        line.split("\t") for line in Path("dataset_atomic/own/own.inter").read_text(encoding="utf-8").splitlines()
    ]
    return [row[header.index(name)] for row in found]


def test_the_rows_the_labels_and_the_range_of_times_are_printed(capsys):
    lines = out_of(capsys, write(), "--time=when").splitlines()
    assert lines[1:4] == [
        "rows: 300 read, 300 written",
        "label: 150 of 300 rows are positive (1 or more)",
        "time: 2023-11-14 22:13:20 to 2023-11-14 22:18:19 UTC, read as seconds since 1970",
    ]
    assert not [line for line in lines if line.startswith("note: ")]


def test_rows_without_a_label_or_a_time_are_an_error_or_dropped_and_counted(capsys):
    path = write([(3, "y", ""), (9, "y", "NA"), (5, "when", "nan"), (9, "when", "")])
    message = "own.csv, line 3, column y: the label is missing, as in 2 of 300 rows; fill them in"
    assert message in error_of(capsys, path, "--time=when")
    out = out_of(capsys, path, "--time=when", "--drop-missing")
    assert "rows: 300 read, 297 written\n" in out
    assert "note: y: rows without a label were dropped, 2 of 300\n" in out
    assert "note: when: rows without a time were dropped, 1 of 298\n" in out
    assert len(column("label:float")) == 297
    assert set(column("timestamp:float")).isdisjoint({"", "1700000001", "1700000003", "1700000007"})


def test_a_time_without_a_value_is_told_by_line(capsys):
    assert "own.csv, line 4, column when: the time is missing, as in 1 of 300 rows" in error_of(
        capsys, write([(4, "when", "")]), "--time=when"
    )
    path = write([(line, "when", "") for line in range(2, 302)])
    assert "own.csv, column when: no row has a time" in error_of(capsys, path, "--time=when", "--drop-missing")


def test_errors_behind_dropped_rows_tell_the_line_of_the_file(capsys):
    path = write([(3, "y", ""), (8, "user", "")])
    assert "own.csv, line 8, column user: a value is missing" in error_of(capsys, path, "--drop-missing")


def test_ratings_taken_for_stars_are_told(capsys):
    out = out_of(capsys, write([(line, "y", 1 + line // 3 % 5) for line in range(2, 302)]))
    assert "label: 120 of 300 rows are positive (4 or more)\nnote: y: taken for stars, of which 4 and more" in out
    assert "rating (float)" in out


def test_a_quote_that_swallows_rows_is_an_error_or_a_character(capsys):
    body = [[*row[:-1], "good"] for row in rows(50)]
    body[3][-1], body[9][-1] = '"lovely', 'gift"'
    Path("own.csv").write_text("\n".join(",".join(map(str, row)) for row in [HEADER, *body]))
    message = "own.csv, line 5: a quote opens here and closes in line 11, with whole rows in between; where quotes"
    assert message in error_of(capsys, "own.csv")
    assert "rows: 50 read, 50 written" in out_of(capsys, "own.csv", "--no-quoting")


def test_words_for_missing_numbers_and_infinite_ones_are_missing_and_told(capsys):
    cells = [(2, "price", "NA"), (3, "price", "\\N"), (4, "price", ""), (5, "price", "inf"), (6, "price", " 4.5 ")]
    out = out_of(capsys, write([*cells, (7, "code", "nan"), (8, "code", "-inf")]))
    assert "note: price: 3 values are missing (empty, NA, \\N)\n" in out
    assert "note: price: 1 infinite value is counted as missing\n" in out
    assert "note: code: 1 value is missing (nan)\nnote: code: 1 infinite value is counted as missing\n" in out
    assert "price (float), code (token)" in out
    assert column("price:float")[:5] == ["", "", "", "", "4.5"]
    assert column("code:token")[4:8] == ["4", "", "", "2"]


def test_numbers_of_parquet_that_are_missing_or_infinite_are_told(capsys):
    frame = pl.DataFrame(rows(), schema=HEADER, orient="row").with_columns(pl.col("code").cast(pl.Float64))
    row = pl.int_range(pl.len())
    infinite = pl.when(row == 1).then(float("inf")).otherwise("price")
    frame.with_columns(
        price=pl.when(row == 0).then(float("nan")).otherwise(infinite),
        code=pl.when(row == 0).then(float("nan")).otherwise("code"),
    ).write_parquet("own.parquet")
    out = out_of(capsys, "own.parquet")
    assert "note: price: 1 value is missing (NaN)\nnote: price: 1 infinite value is counted as missing\n" in out
    assert column("price:float")[:3] == ["", "", "2.5"]
    assert column("code:token")[:2] == ["", "1"]


def test_words_for_missing_numbers_among_texts_are_texts(capsys):
    path = write([(line, "code", ["NA", "DE", "1"][line % 3]) for line in range(2, 302)])
    assert "note: " not in out_of(capsys, path)
    assert column("code:token")[:3] == ["1", "NA", "DE"]


def test_one_text_that_makes_text_of_numbers_is_told(capsys):
    out = out_of(capsys, write([(7, "price", "free")]))
    assert "note: price: read as text, because of values such as 'free'" in out


@pytest.mark.parametrize("text", ["$1,000.50", "0,00", "1.234,5", "12 %", "€5", "1'000", "(12.5)", "EUR 5"])
def test_numbers_that_are_read_as_text_are_told(text, capsys):
    cells = [(line, "price", text.replace("5", str(line))) for line in range(2, 302)]
    out = out_of(capsys, write(cells))
    assert f"note: price: read as text, because of values such as {cells[0][2]!r}; to have numbers, write" in out
    assert "price (token)" in out


def test_number_fields_are_scaled_and_it_is_told(capsys):
    assert "\n  scaled to 0 to 1 for the backbone: price\n" in out_of(capsys, write(), "--time=when")
    assert 'normalize_field: ["price"]  # (list) Scaled' in Path("props/dataset/own.yaml").read_text()


def test_numbers_that_scaling_crowds_are_told(capsys):
    out = out_of(capsys, write([(7, "price", "1e9")]))
    assert "note: price: nine in ten values are within 0.0% of its range from 0.5 to 1000000000" in out


def test_blanks_around_ids_are_removed_and_counted(capsys):
    out = out_of(capsys, write([(2, "user", " u0"), (3, "item", "i1\u00a0"), (4, "item", "\ti2 ")]))
    assert "note: user: blanks around ids were removed, in 1 of 300 rows; 1 id is now one with another" in out
    assert "note: item: blanks around ids were removed, in 2 of 300 rows; 2 ids are now one with another" in out
    assert column("user_id:token")[0] == "u0"
    assert column("item_id:token")[1:3] == ["i1", "i2"]


@pytest.mark.parametrize(("value", "reason"), [("  ", "is missing"), ("a\tb", "holds a NUL, a tab")])
def test_ids_that_no_file_can_hold_are_told_by_line(value, reason, capsys):
    assert "own.csv, line 4, column item: " in error_of(capsys, write([(4, "item", value)]))
    assert reason in error_of(capsys, "own.csv")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pl.Series(["a", "b\0c"]), "line 2, column user: 'b\\x00c' holds a NUL"),
        (pl.Series([1.0, float("nan")]), "line 2, column user: nan is missing"),
        (pl.Series([1.0, float("inf")]), "line 2, column user: inf is infinite"),
        (pl.Series([["a"], ["b"]]), "column user: an id must be a text or a number, got List(String)"),
    ],
)
def test_ids_of_parquet_that_are_none_are_told(values, reason, capsys):
    pl.DataFrame({"user": values, "item": ["i", "j"], "y": [0, 1]}).write_parquet("own.parquet")
    assert f"own.parquet, {reason}" in error_of(capsys, "own.parquet")


def test_names_with_blanks_are_shown_in_quotes(capsys):
    path = write(header=["user", " item", " y", *HEADER[3:]])
    assert "has no column 'item'; there are 'user', ' item', ' y', 'when'" in error_of(capsys, path)
    assert "did you mean ' item'?" in error_of(capsys, path)


def test_odd_times_are_noted(capsys):
    out = out_of(capsys, write([(2, "when", 0), (3, "when", 9_999_999_999)]), "--time=when")
    assert "time: 1970-01-01 00:00:00 to 2286-11-20 17:46:39 UTC" in out
    assert "note: when: 1 time is before 1980, the first 1970-01-01 00:00:00\n" in out
    assert "note: when: 1 time is in the future, the last 2286-11-20 17:46:39\n" in out


@pytest.mark.parametrize(
    ("option", "first"),
    [("--day-first", "2018-02-01"), ("--month-first", "2018-01-02"), ("--date-format=%d/%m/%Y", "2018-02-01")],
)
def test_options_say_how_dates_are_written(option, first, capsys):
    path = write([(line, "when", "1/2/2018") for line in range(2, 302)])
    assert "may begin with the day or the month" in error_of(capsys, path, "--time=when")
    assert f"time: {first} 00:00:00 to {first} 00:00:00 UTC" in out_of(capsys, path, "--time=when", option)


def test_options_of_dates_want_a_time_and_exclude_each_other(capsys):
    assert "--month-first need --time" in error_of(capsys, write(), "--day-first")
    with pytest.raises(SystemExit):
        main(["from-table", "own.csv", *COLUMNS, "--time=when", "--day-first", "--month-first"])
    assert "not allowed with argument --day-first" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["label", "rating", "timestamp", "user_id", "item_id", " label "])
@pytest.mark.parametrize("stars", [False, True])
def test_a_column_with_the_name_of_a_role_gets_another(name, stars, capsys):
    body = [[*row[:2], 1 + n % 5 if stars else row[2], *row[3:5], n % 3] for n, row in enumerate(rows())]
    out = out_of(capsys, write(header=[*HEADER[:5], name], body=body), "--time=when")
    field = f"{name.strip()}_column"
    assert f"note: column {name!r} is called {field}, as {name.strip()} is the name of another field\n" in out
    assert column(f"{field}:token")[:4] == ["0", "1", "2", "0"]
    assert len(set(header := Path("dataset_atomic/own/own.inter").read_text().partition("\n")[0].split("\t"))) == 6
    assert sum(of.startswith(f"{name.strip()}:") for of in header) <= 1


def test_a_new_name_of_a_column_is_no_other_columns(capsys):
    header = ["user", "item", "y", "when", "label", "label_column"]
    out_of(capsys, write(header=header), "--time=when")
    assert column("label_column:token")[:3] == ["0", "1", "2"]
    assert column("label_column_:float")[:3] == ["0.5", "1.5", "2.5"]


def test_values_that_span_lines_are_told_as_they_may_hide_rows(capsys):
    body = [[*row[:5], "x"] for row in rows()]
    lines = [
        ",".join(map(str, row))
        for row in [[HEADER[0], HEADER[5], *HEADER[1:5]], *([r[0], r[5], *r[1:5]] for r in body)]
    ]
    lines[5], lines[6] = 'u1,"gift, x,i1,0,1700000003,3.5', 'u2,idea, y",i2,0,1700000004,3.5'
    Path("own.csv").write_text("\n".join(lines) + "\n")
    out = out_of(capsys, "own.csv")
    assert "rows: 299 read" in out
    assert "note: own.csv: 1 quoted value spans lines, the first from line 6 to line 7; " in out


@pytest.mark.parametrize("path", ["own.tsv", "own.tsv.gz"])
def test_a_tsv_is_separated_by_tabs_whatever_its_names_hold(path, capsys):
    lines = ["\t".join(map(str, row)) for row in [[*HEADER[:5], "a,b,c,d,e,f,g"], *rows()]]
    content = ("\n".join(lines) + "\n").encode()
    Path(path).write_bytes(gzip.compress(content) if path.endswith("gz") else content)
    assert "a_b_c_d_e_f_g (token)" in out_of(capsys, path)


def test_separators_in_quoted_names_of_a_csv_do_not_count(capsys):
    lines = [";".join(map(str, row)) for row in [[*HEADER[:5], '"a,b,c,d,e,f,g"'], *rows()]]
    Path("own.csv").write_text("\n\n" + "\r".join(lines))
    assert "a_b_c_d_e_f_g (token)" in out_of(capsys, "own.csv")


def test_the_separator_is_said_where_the_number_of_values_is_wrong(capsys):
    path = write()
    Path(path).write_text(Path(path).read_text() + "u1;i1;0\n")
    assert "line 302: 1 values where the header has 6 columns" in (error := error_of(capsys, path))
    assert "separated by ','" in error


@pytest.mark.parametrize(
    ("values", "texts", "missing"),
    [
        (
            [[1.5, float("nan")], [3.0], [float("inf"), None], None],
            ["1.5", "3.0", "", ""],
            3,
        ),
        ([["a", None], ["b"], ["", "c"], None], ["a", "b", "c", ""], 2),
    ],
)
def test_elements_of_lists_that_are_missing_are_left_out_and_counted(values, texts, missing, capsys):
    frame = pl.DataFrame({"user": [*"abcd"], "item": [*"efgh"], "y": [0, 1, 0, 1], "tags": values}, strict=False)
    frame.write_parquet("own.parquet")
    out = out_of(capsys, "own.parquet")
    assert f"note: tags: {missing} elements are missing or infinite and left out\n" in out
    assert column("tags:token_seq") == texts


def test_a_column_of_maps_is_told(capsys):
    table = pa.table({**TABLE, "tags": pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int64()))})
    pq.write_table(table, "own.parquet")
    assert "own.parquet, column tags: " in (error := error_of(capsys, "own.parquet"))
    assert "leave it out" in error


def test_whole_numbers_with_a_point_are_ids_of_whole_numbers(capsys):
    pl.DataFrame({**TABLE, "user": [1.0, 2.0, -3.0, 1.0]}).write_parquet("own.parquet")
    assert "note: user: ids such as 1.0 were read as whole numbers, such as 1\n" in out_of(capsys, "own.parquet")
    assert column("user_id:token") == ["1", "2", "-3", "1"]


@pytest.mark.parametrize(("value", "reason"), [(1.5, "1.5 is no whole number"), (2.0**53, "may be rounded")])
def test_numbers_that_are_no_ids_are_told(value, reason, capsys):
    pl.DataFrame({**TABLE, "user": [1.0, 2.0, value, 1.0]}).write_parquet("own.parquet")
    assert "own.parquet, line 3, column user: " in (error := error_of(capsys, "own.parquet"))
    assert reason in error


def test_rows_that_repeat_another_are_counted(capsys):
    body = rows()
    assert "note: 3 rows repeat an earlier one\n" in out_of(capsys, write(body=[*body, *body[:2], body[0]]))


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "row"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_column_that_counts_the_rows_is_told(name, first, capsys):
    body = [[*row[:5], first + n] for n, row in enumerate(rows())]
    out = out_of(capsys, write(header=[*HEADER[:5], name], body=body))
    assert f"note: column {name!r} counts the rows from {first}: leave it out with --drop\n" in out


@pytest.mark.parametrize(
    "values",
    [
        ["Action|Comedy", "Drama"],
        ["['a', 'b']", "[]"],
        ['["a"]', '["b"]'],
        ["a, b", "a", "b", "c", "a, b, c", "b, c"],
        ["a;b", "a", "b", "c", "a;b;c", "b;c"],
    ],
)
def test_texts_that_look_like_lists_are_told(values, capsys):
    cells = [(line, "code", values[line // 2 % len(values)]) for line in range(2, 302)]
    out = out_of(capsys, write(cells))
    assert "note: code: looks like a list, such as " in out
    assert "and is read as one value" in out
    assert "code (token)" in out


@pytest.mark.parametrize("values", [["Garçon, Le", "A, B", "x"], ["[sic]", "a", "b"], ["a; b", "c"]])
def test_texts_that_only_hold_commas_or_brackets_are_no_lists(values, capsys):
    cells = [(line, "code", values[line // 2 % len(values)]) for line in range(2, 302)]
    assert "note: " not in out_of(capsys, write(cells))


@pytest.mark.parametrize("element", ["a b", "a\tb", "a\nb"])
def test_elements_of_lists_with_blanks_are_separated_by_another_character(element, capsys):
    pl.DataFrame({**TABLE, "tags": [[element, "c"]] * 4}).write_parquet("own.parquet")
    out_of(capsys, "own.parquet")
    assert column("tags:token_seq") == ["a b|c"] * 4
    assert 'seq_separator: "|"  # (str)' in Path("props/dataset/own.yaml").read_text()


def test_elements_of_lists_that_hold_every_separator_are_told(capsys):
    pl.DataFrame({**TABLE, "tags": [["a b|c;d,e/f~g^h\x1f", "c"]] * 4}).write_parquet("own.parquet")
    assert "own.parquet: the values of lists contain each of ' ' '|' ';' ',' '/' '~' '^'" in error_of(
        capsys, "own.parquet"
    )

"""Convert your own table to a data set: atomic files, and a property file to edit.

Which columns belong to the user, the item or the row, and which are numbers, is inferred from their values; the
property file shows the result. Labels, times and ids are never guessed, except that ratings of 1 to 5 are taken
for stars; missing or ambiguous values are an error that names the option to pass. So is a column that gives the
label away: its values alone rank held-out rows with an AUC above 0.95. Files of any length are streamed; during
the conversion rows are stored on disk, next to the data set. Existing files are never replaced.
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.arguments import reject_settings
from recbole_clickprompt.commands.data import print_report
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.files import new_folder, storage_errors, write_text

if TYPE_CHECKING:
    from recbole_clickprompt.data.convert.table_options import Features, Reading
    from recbole_clickprompt.data.convert.user_table import UserTable

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table and what its columns are."""
    parser.add_argument(
        "table", type=Path, metavar="FILE", help="a .csv, .tsv (also .gz) or .parquet file with a header"
    )
    parser.add_argument("--user", required=True, metavar="COL", help="column of the user's id")
    parser.add_argument("--item", required=True, metavar="COL", help="column of the item's id")
    parser.add_argument("--label", metavar="COL", help="column of 0 and 1, or of a rating")
    parser.add_argument(
        "--sample-negatives", type=int, metavar="N",
        help="for a table of clicks, without --label: sample N items for each click that the user never clicked",
    )  # fmt: skip
    parser.add_argument("--time", metavar="COL", help="column of the time to split by (default: a random split)")
    parser.add_argument(
        "--threshold", type=float, help="smallest label of a positive row (default: 4 of 5 stars, else 1)"
    )
    parser.add_argument("--items", type=Path, metavar="FILE", help="table of the items, with the column --item")
    parser.add_argument("--users", type=Path, metavar="FILE", help="table of the users, with the column --user")
    for option, text in (
        ("--drop", "leave a column out"),
        ("--text-only", "only language models read a column; it is no feature"),
        ("--keep", "accept a column that gives the label away, or is one-to-one with an id, as a feature"),
    ):
        parser.add_argument(option, action="append", default=[], metavar="COL", help=f"{text} (repeatable)")
    parser.add_argument(
        "--list", action="append", default=[], metavar="COL=SEP", dest="lists",
        help="a column of lists, and what separates their values, such as 'genre=, ' (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--drop-labels", metavar="A,B", help="leave out rows with these labels, such as 3,3.5, and report how many"
    )
    parser.add_argument(
        "--drop-missing", action="store_true", help="leave out rows without a label or a time, and report how many"
    )
    parser.add_argument(
        "--no-quoting", action="store_true", help="quotes in a .csv or .tsv file are ordinary characters"
    )
    dates = parser.add_mutually_exclusive_group()
    dates.add_argument(
        "--date-format", metavar="CODES", help="format of the times, such as %%d.%%m.%%y or %%Y%%m%%d (strptime)"
    )
    dates.add_argument("--day-first", action="store_true", help="1/2/2018 is the first of February")
    dates.add_argument("--month-first", action="store_true", help="1/2/2018 is the second of January")
    parser.add_argument("--name", required=True, help="name of the data set")
    parser.add_argument("--out", type=Path, default=Path("dataset_atomic"), help="default: %(default)s")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the files, and prints the inferred fields and the text of the first row.

    Raises:
        SettingError: An argument is unknown, or the name is invalid.
        DataError: The table cannot be used, or the data set exists already.
        StorageError: The disk is full or the folder is not writable; nothing is left behind.
    """
    # Imported late: polars and pyarrow would slow down the start of every command
    from recbole_clickprompt.commands.table_properties import property_file
    from recbole_clickprompt.data.convert.read_table import TableFiles, read_user_table
    from recbole_clickprompt.data.convert.table_options import Columns

    reject_settings(options, settings)
    name = options.name
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise SettingError(f"--name must be letters, digits, dots, - and _, got {name!r}")
    properties = Path("props") / "dataset" / f"{name}.yaml"
    if properties.exists():
        raise DataError(f"{properties} exists already; remove it, or choose another --name")
    columns = Columns(options.user, options.item, options.label, options.time)
    reading, features = _reading(options), _features(options)
    entities = {source: path for source, path in (("user", options.users), ("item", options.items)) if path}
    files, folder = TableFiles(options.table, entities), options.out / name
    with storage_errors(folder), _removed_on_error(properties), new_folder(folder) as work:
        with tempfile.TemporaryDirectory(prefix=".rows-", dir=work) as rows:
            table = read_user_table(
                files, columns, reading, features, Path(rows), negatives=options.sample_negatives
            )
            notes = [*table.notes, *table.write(work, name, Path(rows))]
        write_text(properties, property_file(table, name, options.table.name))
    print(f"{folder} and {properties} are ready")
    print(f"rows: {table.rows_read:,} read, {table.rows_written:,} written", *table.facts, sep="\n")
    for note in notes:
        print(f"note: {note}")
    for source in ("user", "item", "inter"):
        print(f"  {source:<6}{', '.join(f'{field} ({table.types[field]})' for field in table.fields(source))}")
    for how, fields in (("", table.linear), ("logarithm ", table.log)):
        if fields:
            print(f"  {how}scaled to 0 to 1 for the backbone: {', '.join(fields)}")
    print_report(name, folder=options.out, rows=table.rows)
    print(f"the language model will read, for the first row:\n  {_sentence(table)}")


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """Removes a file, which did not exist before, where anything after it fails."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _reading(options: argparse.Namespace) -> Reading:
    from recbole_clickprompt.data.convert.table_options import Reading

    if not options.time and (options.date_format or options.day_first or options.month_first):
        raise SettingError("--date-format, --day-first and --month-first need --time, their column")
    if bool(options.label) == bool(options.sample_negatives):
        raise SettingError(
            "pass --label, the column of clicks or ratings; or, for a table of clicks only, --sample-negatives"
        )
    if options.sample_negatives is not None and options.sample_negatives < 1:
        raise SettingError(f"--sample-negatives must be 1 or more, got {options.sample_negatives}")
    if not options.label and (options.drop_labels or options.threshold is not None):
        raise SettingError("--drop-labels and --threshold need --label, their column")
    return Reading(
        quoting=not options.no_quoting,
        drop_missing=options.drop_missing,
        drop_labels=_labels(options.drop_labels or ""),
        date_format=options.date_format,
        day_first=options.day_first if options.day_first or options.month_first else None,
        threshold=options.threshold,
    )


def _labels(text: str) -> tuple[float, ...]:
    try:
        labels = tuple(float(label) for label in text.split(",") if text)
    except ValueError:
        labels = (math.nan,)
    if not all(map(math.isfinite, labels)):
        raise SettingError(f"--drop-labels must be numbers separated by commas, such as 3,3.5, got {text!r}")
    return tuple(dict.fromkeys(labels))


def _features(options: argparse.Namespace) -> Features:
    from recbole_clickprompt.data.convert.table_options import Features

    lists: dict[str, str] = {}
    for text in options.lists:
        column, equals, separator = text.rpartition("=")
        if not (column and equals and separator):
            raise SettingError(f"--list must be a column and a separator, such as 'genre=, ', got {text!r}")
        if lists.setdefault(column, separator) != separator:
            raise SettingError(
                f"--list names {column!r} twice, with the separators {lists[column]!r} and {separator!r}"
            )
    return Features(tuple(options.drop), tuple(options.keep), tuple(options.text_only), lists)


def _sentence(table: UserTable) -> str:
    from recbole_clickprompt.text.text import FieldText, Textualizer

    texts = {field: _text(table, field) for field in table.words}
    fields = [FieldText.of_texts(words, field, [texts[field]], {}) for field, words in table.words.items()]
    return Textualizer(fields).sentence(dict.fromkeys(table.words, 0))


def _text(table: UserTable, field: str) -> str | None:
    """The text of a field in the first row; None if it is missing."""
    from recbole_clickprompt.data.numbers import number_text
    from recbole_clickprompt.text.text import list_joiner

    value, kind = table.first_row[field], table.types[field]
    if value in (None, ""):
        return None
    if kind == "token_seq":
        return str(value).replace(table.separator, list_joiner(table.separator))
    return number_text(float(str(value))) if kind == "float" else str(value)

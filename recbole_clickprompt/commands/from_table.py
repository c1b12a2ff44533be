"""Convert your own table to a data set: atomic files, and a property file to edit.

Which columns belong to the user, the item or the row, and which are numbers, is inferred from their values; the
property file shows the result. Labels, times and ids are never guessed, except that ratings of 1 to 5 are taken
for stars; missing or ambiguous values are an error that names the option to pass. Files of any length are
streamed; during the conversion rows are stored on disk, next to the data set. Existing files are never replaced.
"""

from __future__ import annotations

import argparse
import json
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
    from recbole_clickprompt.data.convert.named import Reading
    from recbole_clickprompt.data.convert.user_table import UserTable

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table and what its columns are."""
    parser.add_argument(
        "table", type=Path, metavar="FILE", help="a .csv, .tsv (also .gz) or .parquet file with a header"
    )
    parser.add_argument("--user", required=True, metavar="COL", help="column of the user's id")
    parser.add_argument("--item", required=True, metavar="COL", help="column of the item's id")
    parser.add_argument("--label", required=True, metavar="COL", help="column of 0 and 1, or of a rating")
    parser.add_argument("--time", metavar="COL", help="column of the time to split by (default: a random split)")
    parser.add_argument(
        "--threshold", type=float, help="smallest label of a positive row (default: 4 of 5 stars, else 1)"
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
    from recbole_clickprompt.data.convert.named import Columns
    from recbole_clickprompt.data.convert.user_table import read_user_table

    reject_settings(options, settings)
    name = options.name
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise SettingError(f"--name must be letters, digits, dots, - and _, got {name!r}")
    properties = Path("props") / "dataset" / f"{name}.yaml"
    if properties.exists():
        raise DataError(f"{properties} exists already; remove it, or choose another --name")
    columns = Columns(options.user, options.item, options.label, options.time)
    reading = _reading(options)
    folder = options.out / name
    with storage_errors(folder), _removed_on_error(properties), new_folder(folder) as work:
        with tempfile.TemporaryDirectory(prefix=".rows-", dir=work) as rows:
            table = read_user_table(options.table, columns, reading, Path(rows))
            written = table.write(work, name)
        write_text(properties, _properties(table, name, options))
    print(f"{folder} and {properties} are ready")
    print(f"rows: {table.rows_read:,} read, {table.rows:,} written", *table.facts, sep="\n")
    for note in [*table.notes, *written]:
        print(f"note: {note}")
    for source in ("user", "item", "inter"):
        print(f"  {source:<6}{', '.join(f'{field} ({table.types[field]})' for field in table.fields(source))}")
    if _scaled(table):
        print(f"  scaled to 0 to 1 for the backbone: {', '.join(_scaled(table))}")
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
    from recbole_clickprompt.data.convert.named import Reading

    if not options.time and (options.date_format or options.day_first or options.month_first):
        raise SettingError("--date-format, --day-first and --month-first need --time, their column")
    return Reading(
        quoting=not options.no_quoting,
        drop_missing=options.drop_missing,
        date_format=options.date_format,
        day_first=options.day_first if options.day_first or options.month_first else None,
        threshold=options.threshold,
    )


def _scaled(table: UserTable) -> list[str]:
    """Number fields that are features of the backbone."""
    return [field for field, kind in table.types.items() if kind == "float" and field in table.words]


def _properties(table: UserTable, name: str, options: argparse.Namespace) -> str:
    from recbole_clickprompt.data.numbers import number_text

    timed = "timestamp" in table.sources
    label = "label" if table.threshold is None else "rating"
    lines = [
        f"# {name}, made by `recbole-cp from-table {options.table.name}`. All of it was inferred: check it.",
        "load_col:  # (dict) Fields to load.",
        *(
            f"  {source}: {json.dumps(table.fields(source), ensure_ascii=False)}"
            for source in ("inter", "user", "item")
            if source == "inter" or len(table.fields(source)) > 1
        ),
        "eval_args:  # (dict) RecBole's; needs all four keys.",
        "  split: {RS: [8, 1, 1]}  # (dict) Shares of training, validation and test part.",
        f"  order: {'TO' if timed else 'RO'}  # (str) TO: chronological; RO: random.",
        "  group_by: ~  # (str) None: one split of all rows, not one per user.",
        "  mode: labeled  # (str) Rows have labels; nothing is sampled.",
    ]
    if timed:
        lines.append("unused_col: {inter: [timestamp]}  # (dict) Only used for the split.")
    if table.threshold is not None:
        value = number_text(table.threshold)
        lines.append(f"threshold: {{{label}: {value}}}  # (dict) Ratings of {value} and above have label 1.")
    if _scaled(table):
        fields = json.dumps(_scaled(table), ensure_ascii=False)
        lines += [
            f"numerical_features: {fields}  # (list) Float fields that are features of the backbone.",
            f"normalize_field: {fields}  # (list) Scaled to the range 0 to 1; training can fail"
            " on large unscaled numbers.",
        ]
    lines.append("text_fields:  # (dict) Name of each field in the sentence, in the order of the sentence.")
    lines += [
        f"  {json.dumps(f, ensure_ascii=False)}: {json.dumps(w, ensure_ascii=False)}"
        for f, w in table.words.items()
    ]
    lines.append("value_labels: {}  # (dict) Words for the codes of a field, such as {gender: {F: female}}.")
    return "\n".join(lines) + "\n"


def _sentence(table: UserTable) -> str:
    from recbole_clickprompt.text.text import FieldText, Textualizer

    row = table.first_row
    texts = {
        field: None if row[field] in (None, "") else _text(row[field], table.types[field]) for field in table.words
    }
    fields = [FieldText.of_texts(words, field, [texts[field]], {}) for field, words in table.words.items()]
    return Textualizer(fields).sentence(dict.fromkeys(table.words, 0))


def _text(value: object, kind: str) -> str:
    from recbole_clickprompt.data.numbers import number_text

    return number_text(float(str(value))) if kind == "float" else str(value)

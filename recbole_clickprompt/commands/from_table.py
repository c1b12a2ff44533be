"""Make a data set of your own table: atomic files, and a property file to edit.

Which columns belong to the user, the item or the row, and which are numbers, is guessed from their values; the
property file says what came out. Of labels, times and ids only 1 to 5 stars are guessed, and what is missing or
can be read in two ways is an error that names the option to pass. Nothing that is there already is ever replaced.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from recbole_clickprompt.data.convert.named import Columns, Reading
from recbole_clickprompt.data.convert.user_table import UserTable, read_user_table
from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.files import new_folder, write_text
from recbole_clickprompt.text.text import FieldText, Textualizer

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table and what its columns are."""
    parser.add_argument(
        "table", type=Path, metavar="FILE", help="a .csv, .tsv (also .gz) or .parquet file with a header"
    )
    parser.add_argument("--user", required=True, metavar="COL", help="column of the user's id")
    parser.add_argument("--item", required=True, metavar="COL", help="column of the item's id")
    parser.add_argument("--label", required=True, metavar="COL", help="column of 0 and 1, or of a rating")
    parser.add_argument("--time", metavar="COL", help="column of the time, to split by; without it at random")
    parser.add_argument(
        "--threshold", type=float, help="label from which on a row is positive (default: 4 of 5 stars, else 1)"
    )
    parser.add_argument(
        "--drop-missing", action="store_true", help="leave out rows without a label or a time, and say how many"
    )
    parser.add_argument(
        "--no-quoting", action="store_true", help="quotes are ordinary characters of the values in the csv or tsv"
    )
    dates = parser.add_mutually_exclusive_group()
    dates.add_argument(
        "--date-format", metavar="CODES", help="how times are written, such as %%d.%%m.%%y or %%Y%%m%%d (strptime)"
    )
    dates.add_argument("--day-first", action="store_true", help="1/2/2018 is the first of February")
    dates.add_argument("--month-first", action="store_true", help="1/2/2018 is the second of January")
    parser.add_argument("--name", required=True, help="name of the data set")
    parser.add_argument("--out", type=Path, default=Path("dataset_atomic"), help="default: %(default)s")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the files and prints what was guessed and the text of the first row.

    Raises:
        SettingError: An unknown argument or impossible name.
        DataError: The table cannot be used, or something is there already.
    """
    if settings:
        raise SettingError(f"from-table knows no {settings[0]}")
    name = options.name
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise SettingError(f"--name must be letters, digits, dots, - and _, got {name!r}")
    properties = Path("props") / "dataset" / f"{name}.yaml"
    if properties.exists():
        raise DataError(f"{properties} is there already; remove it, or choose another --name")
    columns = Columns(options.user, options.item, options.label, options.time)
    table = read_user_table(options.table, columns, _reading(options))
    with new_folder(options.out / name) as work:
        written = table.write(work, name)
        write_text(properties, _properties(table, name, options))
    print(f"{options.out / name} and {properties} are ready")
    print(f"rows: {table.rows_read:,} read, {len(table.frame):,} written", *table.facts, sep="\n")
    for note in [*table.notes, *written]:
        print(f"note: {note}")
    for source in ("user", "item", "inter"):
        print(f"  {source:<6}{', '.join(f'{field} ({table.types[field]})' for field in table.fields(source))}")
    if _scaled(table):
        print(f"  scaled to 0 to 1 for the backbone: {', '.join(_scaled(table))}")
    print(f"the language model will read, for the first row:\n  {_sentence(table)}")


def _reading(options: argparse.Namespace) -> Reading:
    if not options.time and (options.date_format or options.day_first or options.month_first):
        raise SettingError("--date-format, --day-first and --month-first want --time, the column to read by them")
    return Reading(
        quoting=not options.no_quoting,
        drop_missing=options.drop_missing,
        date_format=options.date_format,
        day_first=options.day_first if options.day_first or options.month_first else None,
        threshold=options.threshold,
    )


def _scaled(table: UserTable) -> list[str]:
    """Number fields that the backbone reads."""
    return [field for field, kind in table.types.items() if kind == "float" and field in table.words]


def _properties(table: UserTable, name: str, options: argparse.Namespace) -> str:
    timed = "timestamp" in table.sources
    label = "label" if table.threshold is None else "rating"
    lines = [
        f"# {name}, made by `recbole-cp from-table {options.table.name}`. All of it is a guess: edit it.",
        "load_col:  # (dict) Fields to load.",
        *(
            f"  {source}: {json.dumps(table.fields(source), ensure_ascii=False)}"
            for source in ("inter", "user", "item")
            if source == "inter" or len(table.fields(source)) > 1
        ),
        "eval_args:  # (dict) RecBole's; all four keys together.",
        "  split: {RS: [8, 1, 1]}  # (dict) Shares of training, validation and test part.",
        f"  order: {'TO' if timed else 'RO'}  # (str) TO by time, RO at random.",
        "  group_by: ~  # (str) None: one split of all rows, not one a user.",
        "  mode: labeled  # (str) Rows have labels; nothing is sampled.",
    ]
    if timed:
        lines.append("unused_col: {inter: [timestamp]}  # (dict) Loaded for the split alone.")
    if table.threshold is not None:
        value = number_text(table.threshold)
        lines.append(f"threshold: {{{label}: {value}}}  # (dict) Label 1 from a rating of {value} on.")
    if _scaled(table):
        fields = json.dumps(_scaled(table), ensure_ascii=False)
        lines += [
            f"numerical_features: {fields}  # (list) Float fields that the backbone reads.",
            f"normalize_field: {fields}  # (list) Scaled to 0 to 1 by the least and the largest"
            " value; large numbers as they are make the training fail.",
        ]
    lines.append("text_fields:  # (dict) Field: its name in words, in the order of the sentence.")
    lines += [
        f"  {json.dumps(f, ensure_ascii=False)}: {json.dumps(w, ensure_ascii=False)}"
        for f, w in table.words.items()
    ]
    lines.append("value_labels: {}  # (dict) Field: its codes in words, such as {gender: {F: female}}.")
    return "\n".join(lines) + "\n"


def _sentence(table: UserTable) -> str:
    row = table.frame.row(0, named=True)
    texts = {
        field: None if row[field] in (None, "") else _text(row[field], table.types[field]) for field in table.words
    }
    fields = [FieldText.of_texts(words, field, [texts[field]], {}) for field, words in table.words.items()]
    return Textualizer(fields).sentence(dict.fromkeys(table.words, 0))


def _text(value: object, kind: str) -> str:
    return number_text(float(str(value))) if kind == "float" else str(value)

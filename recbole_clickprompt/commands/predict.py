"""Score raw rows with a trained model.

A row's columns are called as the fields of the atomic files and hold the values that stand there: the user's and
the item's id, what belongs to the row alone, and, for users and items that training never saw, their own
features. Ids and values that training never saw are allowed and counted; the language model reads their text all
the same. Files of any size are streamed.

Each row gets one score, or there is an error and no output. In a text file a value that begins with a quote ends
with the next one; it may span lines, unless one of the further lines could be a row by itself. Blanks around an id
are left out where training saw no such id; empty lines are no rows. Words such as NA, infinite numbers and empty
values are missing numbers. A number far outside the range in training is limited to ten times its width beyond it.
What was met of all this is counted and printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_clickprompt.errors import DataError, SettingError

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the rows and where scores go."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's .pth file or folder, or an export's folder")
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a .csv, .tsv (also .gz) or .parquet file")
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FILE",
        help="a .csv or .parquet file: user, item, what --keep names, score; replaced if it is there",
    )  # fmt: skip
    parser.add_argument("--keep", default="", metavar="A,B", help="columns to pass on, which may be no fields")
    parser.add_argument(
        "--no-quoting", action="store_true", help="quotes in a .csv or .tsv file are ordinary characters"
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the scores and prints what was met.

    Raises:
        SettingError: An unknown argument, or no such device.
        DataError: The rows or the output cannot be used.
        WeightsError: The model cannot be loaded.
    """
    # Here and not above: polars and pyarrow would make every command's start slower
    import pyarrow as pa

    from recbole_clickprompt.serving.columns import check_columns
    from recbole_clickprompt.serving.files import RowFile, ScoreFile
    from recbole_clickprompt.serving.load import load_model
    from recbole_clickprompt.serving.rows import Counts

    if settings:
        raise SettingError(f"predict knows no {settings[0]}")
    keep = [name for name in options.keep.split(",") if name]
    output, counts = ScoreFile(options.output), Counts()
    rows = RowFile(options.rows, quoting=not options.no_quoting)
    if options.output.resolve() == options.rows.resolve():
        raise DataError("--output is the file of the rows itself; name another")
    model = load_model(options.run, options.device)
    check_columns(model.preprocessing, rows.names, source=str(options.rows), keep=keep)
    passed_on = dict.fromkeys([model.preprocessing.user, model.preprocessing.item, *keep])
    with output:
        for table in rows.batches():
            scores = model.score(table, counts)
            output.write(table.select(list(passed_on)).append_column("score", pa.array(scores)))
        if output.rows != rows.rows:
            raise DataError(
                f"{options.rows} has {rows.rows:,} rows and got {output.rows:,} scores; none was written"
            )
    print(f"{counts.rows:,} rows scored: {options.output}")
    for remark in counts.remarks():
        print(f"  {remark}")
    if rows.empty_lines:
        print(f"  {rows.empty_lines:,} empty lines are no rows and have no score")

"""Score raw rows with a trained model.

Columns have the names of the fields in the atomic files, or of the table that `recbole-cp from-table` made the
data set of, and values are written as there: the ids of user and
item, the fields of the row itself, and the features of users and items that training never saw. Ids and values
that training never saw are allowed and counted; the language model still reads their text. Files of any size are
streamed.

Each row gets one score, or there is an error and no output. In a text file a value that begins with a quote ends
at the next quote; it may span lines, unless one of the further lines could itself be a row. Blanks around an id
are removed unless training saw the id with them; empty lines are not rows. Words such as NA, infinite numbers and
empty values are missing numbers. A number far outside the range of training is clipped at ten times the width of
that range beyond it. All of these are counted, and the counts are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_clickprompt.commands.arguments import add_cache, cache_options, reject_settings
from recbole_clickprompt.errors import DataError

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the rows and the file for the scores."""
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="a run's .pth file or folder, or the folder of a published model or an export",
    )
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a .csv, .tsv (also .gz) or .parquet file")
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FILE",
        help="a .csv or .parquet file with user, item, the columns of --keep, and score; replaced if it exists",
    )  # fmt: skip
    parser.add_argument(
        "--keep", default="", metavar="A,B", help="columns to copy to the output; any columns of ROWS"
    )
    parser.add_argument(
        "--no-quoting", action="store_true", help="quotes in a .csv or .tsv file are ordinary characters"
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda where available)")
    add_cache(parser)


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the scores, and prints counts of everything unusual in the rows.

    Raises:
        SettingError: An argument is unknown, or there is no such device.
        DataError: The rows or the output cannot be used.
        WeightsError: The model cannot be loaded.
    """
    import pyarrow as pa
    from tqdm import tqdm

    from recbole_clickprompt.serving.columns import check_columns, with_field_names
    from recbole_clickprompt.serving.files import RowFile, ScoreFile
    from recbole_clickprompt.serving.load import load_model
    from recbole_clickprompt.serving.rows import Counts

    reject_settings(options, settings)
    keep = [name for name in options.keep.split(",") if name]
    output, counts = ScoreFile(options.output), Counts()
    rows = RowFile(options.rows, quoting=not options.no_quoting)
    if options.output.resolve() == options.rows.resolve():
        raise DataError("--output is the file that holds the rows; choose another")
    model = load_model(options.run, options.device, **cache_options(options))
    fields = check_columns(model.preprocessing, rows.names, source=str(options.rows), keep=keep)
    column_of = {field: column for column, field in fields.items()}
    copied = dict.fromkeys([column_of[model.preprocessing.user], column_of[model.preprocessing.item], *keep])
    # disable=None: only on a terminal
    with output, tqdm(unit=" rows", unit_scale=True, leave=False, dynamic_ncols=True, disable=None) as progress:

        def advance(scored: int) -> None:
            progress.total = rows.expected_rows
            progress.update(scored)

        for table in rows.batches():
            scores = model.score(with_field_names(table, fields), counts, advance)
            output.write(table.select(list(copied)).append_column("score", pa.array(scores)))
        if output.rows != rows.rows:
            raise DataError(
                f"{options.rows} has {rows.rows:,} rows but got {output.rows:,} scores; nothing was written"
            )
    print(f"{counts.rows:,} rows scored: {options.output}")
    for remark in counts.remarks():
        print(f"  {remark}")
    if rows.empty_lines:
        print(f"  {rows.empty_lines:,} empty lines were skipped: they are not rows")

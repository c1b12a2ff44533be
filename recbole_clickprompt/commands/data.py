"""Report the numbers of a data set as a run reads it: rows, users, items, labels, times, missing values.

Numbers are per part of the split, after filters. If many rows have users or items without training rows, settings
are advised. Accepts --key=value settings as `run` does, such as --cold_start=item_id.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import SettingError, UserError
from recbole_clickprompt.files import write_text

if TYPE_CHECKING:
    from recbole_clickprompt.evaluation.data_report import DataReport

__all__ = ["add_arguments", "execute", "print_report"]

_MODEL = "DCNV2"  # a model that needs no text
_MOST_ROWS = 1_000_000  # of a data set whose report is printed unasked: it is read into memory, as for training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, its property files, and a page."""
    parser.add_argument("dataset", metavar="NAME", help="the data set")
    parser.add_argument(
        "--model", "-m", help="model whose settings are checked (default: that of your property files)"
    )
    parser.add_argument(
        "--config_files", default="", help="your property files, or names of shipped ones, separated by spaces"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with figures")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints the report, and writes the page.

    Raises:
        SettingError: A setting or the name of the page's file is invalid.
        DataError: The data set does not exist or cannot be trained on.
    """
    from recbole_clickprompt.evaluation.data_report import data_text

    if options.html is not None and options.html.suffix not in (".html", ".htm"):
        raise SettingError(f"the page's file must end in .html, got {options.html}")
    report = _report(options, settings)
    print(data_text(report))
    if options.html is not None:
        from recbole_clickprompt.evaluation.report.data import data_page

        write_text(options.html, data_page(report))
        print(f"page: {options.html}")


def print_report(name: str, *, folder: Path, rows: int) -> None:
    """Prints the report of a data set that was just converted, unless it is large.

    Args:
        name: The data set.
        folder: The folder that contains its folder.
        rows: Its number of rows.
    """
    where = "" if str(folder) == "dataset_atomic" else f" --data_path={folder}"
    if rows > _MOST_ROWS:
        print(f"`recbole-cp data {name}{where}` reports users, items, labels and missing values of each part")
        return
    try:
        from recbole_clickprompt.evaluation.data_report import data_text

        options = argparse.Namespace(dataset=name, model=None, config_files="")
        print(data_text(_report(options, [f"--data_path={json.dumps(str(folder))}"])))
    except UserError as error:  # the conversion has succeeded
        print(f"note: there is no report of this data set, and it cannot be trained on yet: {error}")


def _report(options: argparse.Namespace, settings: Sequence[str]) -> DataReport:
    # Not imported above: RecBole takes seconds to import
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    from recbole_clickprompt.commands.options import parse_run
    from recbole_clickprompt.host.data_report import data_report
    from recbole_clickprompt.host.registration import register

    register()  # prepare and from-table do without RecBole until they get here
    model, dataset, files, values = parse_run(options, settings, model=_MODEL)
    config = Config(model, dataset, files, {**values, "state": "error"})
    return data_report([loader._dataset for loader in data_preparation(config, create_dataset(config))])

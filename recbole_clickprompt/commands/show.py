"""Show the exact sentences that the PLM reads for some rows.

Accepts --key=value settings as `run` does, such as --text_fields="{item_id: film}".
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recbole.config import Config
from recbole.data import create_dataset, data_preparation

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.options import add_run_arguments, parse_run

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RecBole's flags for a run, and the number of rows."""
    add_run_arguments(parser)
    parser.add_argument("--rows", type=int, default=5, help="number of training rows (default: %(default)s)")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints label and sentence of the first training rows, in the order of the split.

    Raises:
        SettingError: A setting is invalid.
    """
    check_minimum(options, 1, "rows")
    model, dataset, files, values = parse_run(options, settings)
    config = Config(model, dataset, files, {**values, "state": "error"})
    train_data, _, _ = data_preparation(config, create_dataset(config))
    rows = train_data._dataset.inter_feat
    textualizer = train_data._dataset.textualizer()
    keys = {field.key for field in textualizer.fields}
    for row in range(min(options.rows, len(rows))):
        sentence = textualizer.sentence({key: int(rows[key][row]) for key in keys})
        print(f"{int(rows[config['LABEL_FIELD']][row])}  {sentence}")

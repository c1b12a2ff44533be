"""Show what a language model reads for some rows: the exact sentences, or the texts of user and item.

Accepts --key=value settings as `run` does, such as --text_fields="{item_id: film}". Rows are in the order of the
split, which is that of `run` with the same settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recbole_clickprompt.commands.arguments import add_rows, check_minimum
from recbole_clickprompt.commands.options import add_run_arguments, parse_run
from recbole_clickprompt.errors import SettingError

__all__ = ["add_arguments", "execute"]

_PARTS = ("train", "valid", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RecBole's flags for a run, and the rows."""
    add_run_arguments(parser)
    add_rows(parser, 5)
    parser.add_argument("--part", choices=_PARTS, default="train", help="part of the split (default: %(default)s)")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints label and sentence of rows; or label and texts, for a method that reads those of users and items.

    Raises:
        SettingError: A setting is invalid, or there is no such row.
    """
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    from recbole_clickprompt.methods.registry import find_method
    from recbole_clickprompt.text.user_profiles import NUMBER

    check_minimum(options, 1, "rows")
    model, dataset, files, values = parse_run(options, settings)
    config = Config(model, dataset, files, {**values, "state": "error"})
    init_seed(config["seed"], config["reproducibility"])  # as in training, for random splits
    loaders = data_preparation(config, create_dataset(config))
    data = loaders[_PARTS.index(options.part)]._dataset
    chosen = range(min(options.rows, len(data))) if options.row is None else options.row
    for row in chosen:
        if not 0 <= row < len(data):
            raise SettingError(f"--row must be from 0 to {len(data) - 1} in the part {options.part}, got {row}")
    columns, texts = data.inter_feat, find_method(model).level_texts(config, data)
    textualizer = data.textualizer()
    keys = {field.key for field in textualizer.fields}
    ids = {"item": data.iid_field, "user": data.uid_field if data.user_profiles is None else NUMBER}
    for row in chosen:
        label = int(columns[config["LABEL_FIELD"]][row])
        if texts:
            lines = [
                f"{level}: {values[int(columns[ids[level]][row])]}" for level, values in sorted(texts.items())
            ]
            print(f"{label}  " + "\n   ".join(lines))
        else:
            print(f"{label}  {textualizer.sentence({key: int(columns[key][row]) for key in keys})}")

"""Show how the PLM shares its attention over the prompts when one field is masked (Table 7 of the paper).

For each row and each field of its text, the tokens of the value are masked, and their attention in the last
layer to the K prompts is averaged over heads and tokens. It is shown normalised, so that the prompts have 1
together; the last column says how much of all attention that is, the text having the rest. A PLM that reads
forward has no mask token: there the tokens before each one of the value look, and nothing is masked.

Reads the run's checkpoint and its data set. RUN must be a ClickPrompt with its PLM.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from recbole_clickprompt.commands.runs import check_options, emit_table
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import RunFolder, open_run
from recbole_clickprompt.evaluation.tables import markdown_table, number, prompt_columns
from recbole_clickprompt.methods.registry import find_method

__all__ = ["add_arguments", "attention_of", "execute", "markdown"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and its rows."""
    parser.add_argument("run", metavar="RUN", help="a run's .pth file or the folder beside it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rows", type=int, default=3, metavar="N", help="the first N rows (default: %(default)s)")
    which.add_argument(
        "--row", type=int, action="append", metavar="I",
        help="this row, counted from 0 as in predictions.parquet; may come again",
    )  # fmt: skip
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table: .csv, .parquet or .json")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints one table, a line for each row and field."""
    check_options(options, settings)
    if options.rows < 1:
        raise SettingError(f"--rows must be 1 or more, got {options.rows}")
    rows = range(options.rows) if options.row is None else options.row
    table = attention_of(open_run(options.run), rows, split=options.split)
    emit_table(table, markdown(table), out=options.out)


def attention_of(run: RunFolder, rows: Sequence[int], *, split: str = "test") -> pd.DataFrame:
    """The attention over prompts in a finished run, whose model is restored for it.

    Raises:
        SettingError: The model reads no prompts, or there is no such row.
        WeightsError: The checkpoint cannot be restored.
    """
    import torch

    from recbole_clickprompt.host.restore import restore

    attention_table = find_method(run.info["model"]).attention(run.info["settings"])
    if attention_table is None:
        raise SettingError(
            f"attention needs a run whose model reads prompts, and {run.title} reads none: take a run of another "
            "method, or of settings with prompts"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    restored = restore(run.checkpoint, device=device)
    data = restored.test_data if split == "test" else restored.valid_data
    return attention_table(restored.model, data._dataset, rows)


def markdown(table: pd.DataFrame) -> str:
    """What ``attention_table`` gives as a Markdown table."""
    prompts = prompt_columns(table)
    header = ["row", "user", "item", "masked field", "tokens", *(f"prompt {k + 1}" for k in range(len(prompts)))]
    rows = [
        [
            *(str(line[column]) for column in ("row", "user", "item", "field", "tokens")),
            *(number(line[column]) for column in [*prompts, "on_prompts"]),
        ]
        for line in table.to_dict("records")
    ]
    return markdown_table([*header, "to prompts"], rows)

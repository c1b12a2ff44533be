"""Show how the PLM distributes its attention over the prompts when one field is masked (Table 7 of the paper).

For each row and each field of its text, the tokens of the value are masked, and their attention to the K prompts
in the last layer is averaged over heads and tokens. It is normalized, so that the prompts sum to 1; the last
column is the share of all attention that goes to prompts, the rest goes to the text. A causal PLM has no mask
token: there the attention of the token before each token of the value is shown, and nothing is masked.

Reads the run's checkpoint and its data set. RUN must be a ClickPrompt run with its PLM.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.arguments import add_rows, check_minimum
from recbole_clickprompt.commands.restored_runs import default_device, restore_run
from recbole_clickprompt.commands.runs import check_options, emit_table
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.registry import find_method

if TYPE_CHECKING:
    import pandas as pd

    from recbole_clickprompt.evaluation.run_folder import RunFolder
    from recbole_clickprompt.host.restore import Restored

__all__ = ["add_arguments", "attention_of", "execute", "markdown"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and its rows."""
    parser.add_argument("run", metavar="RUN", help="a run's .pth file or the folder next to it")
    add_rows(parser, 3)
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table: .csv, .parquet or .json")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints one table with a line per row and field.

    Raises:
        SettingError: An argument is invalid, the model reads no prompts, or there is no such row.
        DataError: There is no such finished run.
        WeightsError: The checkpoint cannot be restored.
    """
    from recbole_clickprompt.evaluation.run_folder import open_run

    check_options(options, settings)
    check_minimum(options, 1, "rows")
    rows = range(options.rows) if options.row is None else options.row
    run = open_run(options.run)
    compute = attention_of(run)
    if compute is None:
        raise SettingError(
            f"attention needs a run whose model reads prompts, and {run.title} reads none: take a run of another "
            "method, or of settings with prompts"
        )
    restored = restore_run(run, device=default_device())
    table = compute(restored, rows, options.split)
    emit_table(table, markdown(table), out=options.out)


def attention_of(run: RunFolder) -> Callable[[Restored, Sequence[int], str], pd.DataFrame] | None:
    """The function that computes the attention table of a run, once it is restored.

    Returns:
        None if the model reads no prompts; else a function of the restored run, positions of rows, and the split
        (``valid`` or ``test``) that they count in. It raises SettingError if there is no such row.
    """
    attention_table = find_method(run.info["model"]).attention(run.info["settings"])
    if attention_table is None:
        return None

    def compute(restored: Restored, rows: Sequence[int], split: str) -> pd.DataFrame:
        data = restored.test_data if split == "test" else restored.valid_data
        return attention_table(restored.model, data._dataset, rows)

    return compute


def markdown(table: pd.DataFrame) -> str:
    """The attention table of a method as a Markdown table."""
    from recbole_clickprompt.evaluation.tables import markdown_table, number, prompt_columns

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

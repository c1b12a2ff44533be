"""The folder of a finished run: predictions, learning curves, settings and counts of its training rows.

It is next to the run's checkpoint ``<stem>.pth`` and named ``<stem>``:

- ``predictions.parquet``: one line per validation and test row, in the order of the data set;
- ``history.jsonl``: one line per epoch of every stage;
- ``train_counts.parquet``: the number of training rows of each user and item that has any;
- ``costs.json``: what the model costs, if a grid has measured it;
- ``run.json``: model, settings, command and result; written last, so a folder that has it is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from logging import getLogger
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.history import read_epochs
from recbole_clickprompt.evaluation.run_info import INFO_FILE, read_info
from recbole_clickprompt.evaluation.run_tables import PREDICTIONS_FILE, read_counts, read_predictions
from recbole_clickprompt.evaluation.value_checks import reject_rows
from recbole_clickprompt.evaluation.word_tables import WordTable, read_word_tables

__all__ = ["RunFolder", "checkpoint_of", "find_runs", "folder_of", "open_run"]


@dataclass(frozen=True)
class RunFolder:
    """A finished run.

    Attributes:
        folder: Its path.
        info: The content of ``run.json``: ``model``, ``dataset``, ``backbone``, ``seed``, ``settings``,
            ``command``, ``test_result``, ``best_valid_score``, ``checkpoint``, ``train_counts``, ``title``,
            ``date``, the time at which it finished, ``baselines``, the metrics of trivial baselines, and
            ``tables``, which the method adds.
    """

    folder: Path
    info: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """RecBole's checkpoint of this run; not read by this class.

        It is the file named like the folder, or else, if only the folder was renamed, that of the original name.
        """
        folder = self.folder if self.folder.name else self.folder.resolve()  # `.` is no name
        beside = folder.with_name(f"{folder.name}.pth")
        return beside if beside.is_file() else folder.parent / self.info["checkpoint"]

    @property
    def title(self) -> str:
        """The model in words, such as ``DCNV2`` or ``ClickPrompt with PLM (DCNV2)``."""
        # Runs of earlier versions have no title
        return self.info.get("title") or f"{self.info['model']} ({self.info.get('backbone')})"

    @property
    def sampled_negatives(self) -> int | None:
        """Negatives that were sampled for each click of the data set; None if its negatives are data."""
        return self.info["settings"].get("sampled_negatives")

    @property
    def date(self) -> datetime:
        """When the run finished; of a run of an earlier version, when its ``run.json`` was written."""
        try:
            return datetime.fromisoformat(self.info.get("date", "")).astimezone()
        except (TypeError, ValueError):
            return datetime.fromtimestamp((self.folder / INFO_FILE).stat().st_mtime).astimezone()

    def predictions(self, split: str | None = None) -> pd.DataFrame:
        """Scores of validation and test rows, in the order of the data set.

        Args:
            split: ``valid`` or ``test`` selects these rows, numbered from 0.

        Returns:
            Columns ``split``, ``user``, ``item`` (tokens of the data files), ``label`` (0 or 1), ``time`` (of the
            data files, missing if they have none), ``score`` (from 0 to 1), and the columns that the method of
            the run adds, such as ``logit_ctr``, and the scores of baselines, such as ``baseline_item_mean``.

        Raises:
            DataError: The run saved none, or the file is damaged.
        """
        path = self.folder / PREDICTIONS_FILE
        if not path.is_file():
            raise DataError(f"{self.folder} has no {PREDICTIONS_FILE}; train with save_predictions: True")
        table = read_predictions(path)
        return table if split is None else table[table["split"] == split].reset_index(drop=True)

    def history(self) -> pd.DataFrame:
        """Learning curves: columns ``stage`` (such as ``pretrain``, ``finetune``), ``epoch`` and the metrics.

        Raises:
            DataError: A metric is infinite.
        """
        file = self.folder / "history.jsonl"
        table = pd.DataFrame(read_epochs(file))
        for name in table.columns.difference(["stage"]):
            table[name] = table[name].astype(float if name != "epoch" else int)  # also if all values are null
            reject_rows(table, name, table[name].abs() == float("inf"), "a finite number or null", file)
        return table

    def tables(self) -> list[WordTable]:
        """Tables of words that the method added to the run."""
        return read_word_tables(self.info["tables"], self.folder / INFO_FILE)

    def train_counts(self) -> pd.DataFrame:
        """The number of training rows of each user and item: columns ``kind``, ``token``, ``rows``.

        Users and items without training rows are not in it.

        Raises:
            DataError: The file is damaged.
        """
        return read_counts(self.folder / self.info["train_counts"])


def folder_of(checkpoint: str | Path) -> Path:
    """The run folder that belongs to a checkpoint."""
    return Path(checkpoint).with_suffix("")


def checkpoint_of(run: Path) -> Path:
    """The checkpoint that a path means: a file itself; of a folder, that of its run, whether finished or not."""
    if not run.is_dir():
        return run
    if (run / INFO_FILE).is_file():
        return open_run(run).checkpoint
    folder = run.resolve()  # `.` has no name of its own
    return folder.parent / f"{folder.name}.pth"


def open_run(path: str | Path) -> RunFolder:
    """Opens a finished run by its ``.pth`` file or its folder.

    Raises:
        DataError: It does not exist, is not finished, or its ``run.json`` is damaged.
    """
    path = Path(path)
    folder = folder_of(path) if path.suffix == ".pth" else path
    file = folder / INFO_FILE
    if not file.is_file():
        problem = f"is not the folder of a finished run: {INFO_FILE} is missing"
        problem = problem if folder.is_dir() else "does not exist"
        if path.is_file() and not folder.is_dir():
            problem = f"does not exist: if {path.name} was renamed, rename the folder of its run likewise"
        raise DataError(f"{folder} {problem}; give the .pth file that training wrote, or the folder next to it")
    return RunFolder(folder=folder, info=read_info(file))


def find_runs(folder: Path) -> list[RunFolder]:
    """The finished runs below a folder, at any depth, newest first; a warning reports damaged ones."""
    runs = []
    for file in folder.rglob(INFO_FILE):
        try:
            runs.append(open_run(file.parent))
        except DataError as error:
            getLogger().warning(f"{error}")
    return sorted(runs, key=lambda run: run.date, reverse=True)

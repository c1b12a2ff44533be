"""Writes the run folder next to a checkpoint; ``evaluation/run_folder.py`` describes its files."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from recbole_clickprompt.embeddings.table import sharded_tables
from recbole_clickprompt.evaluation.baselines import Baselines, better_baseline, measure_baselines
from recbole_clickprompt.evaluation.history import append_epoch, change_epochs, history_beside, read_epochs
from recbole_clickprompt.evaluation.metrics import auc
from recbole_clickprompt.evaluation.run_folder import folder_of
from recbole_clickprompt.evaluation.run_info import write_info
from recbole_clickprompt.evaluation.run_tables import write_counts, write_predictions
from recbole_clickprompt.preprocessing.from_dataset import observe, save_preprocessing
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.baselines import baseline_scores
from recbole_clickprompt.trainer.predictions import gather_predictions, predict_split, row_keys, training_rows
from recbole_clickprompt.trainer.protocols import CTRModel, FinetuningMethod
from recbole_clickprompt.trainer.sampling import sample
from recbole_clickprompt.trainer.text_vectors import encoded_levels

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset

__all__ = ["RunLogger", "collect_finished_runs", "log_stage_epoch"]

_watchers: list[list[Path]] = []


@contextmanager
def collect_finished_runs() -> Iterator[list[Path]]:
    """Collects the checkpoints of runs that finish in this context, which ``run_recbole`` does not return."""
    finished: list[Path] = []
    _watchers.append(finished)
    try:
        yield finished
    finally:
        _watchers.remove(finished)


def log_stage_epoch(
    config: Settings, checkpoint: Path, epoch: int, metrics: dict[str, float], *, stage: str
) -> None:
    """Adds an epoch of a stage, counted from 0, to the history next to its checkpoint."""
    if not _writes(config):
        return
    append_epoch(history_beside(checkpoint), {"stage": stage, "epoch": epoch, **metrics})


class RunLogger:
    """Writes the folder of a finetuned run while it is trained and tested.

    Args:
        config: Settings of the run.
        checkpoint: RecBole's ``saved_model_file``.
        train_data: Loader of the training rows.
        valid_data: Loader of the validation rows, or None.
        method: The method of the run.
        all_rows: Loader of all training rows, of which ``train_data`` may be a sample.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
        method: FinetuningMethod,
        *,
        all_rows: AbstractDataLoader,
    ) -> None:
        self.method = method
        self.config, self.checkpoint = config, Path(checkpoint)
        self.folder = folder_of(checkpoint)
        self.train_data, self.valid_data, self.all_rows = train_data, valid_data, all_rows
        self.writes = _writes(config)
        self._epoch: dict[str, Any] = {}
        self._finished = False

    def begin(self, pretrained: Path | None) -> None:
        """Starts the history with that of the pretraining checkpoint that the run starts from, if there is one."""
        if not self.writes:
            return
        before = read_epochs(history_beside(pretrained)) if pretrained is not None else []
        change_epochs(
            self.folder / "history.jsonl",
            lambda lines: [*before, *(line for line in lines if line["stage"] == "finetune")],
        )

    def epoch(self, number: int, loss: float) -> None:
        """Adds a finetuning epoch, counted from 0."""
        self._add({"stage": "finetune", "epoch": number, "train_loss": float(loss)})

    def validated(self, result: dict[str, Any]) -> None:
        """Adds validation metrics to the last epoch."""
        self._add({**self._epoch, **{f"valid_{name}": float(value) for name, value in result.items()}})

    def _add(self, line: dict[str, Any]) -> None:
        self._epoch = line
        if self.writes:
            append_epoch(self.folder / "history.jsonl", line)

    def finish(
        self,
        model: CTRModel,
        test_data: AbstractDataLoader,
        result: dict[str, Any],
        best_valid_score: float,
        *,
        show_progress: bool,
    ) -> None:
        """Writes the remaining files once; does nothing in later calls, or if validation rows are evaluated.

        Args:
            model: The model with the weights of the checkpoint.
            test_data: Loader of the evaluated rows.
            result: Metrics of these rows.
            best_valid_score: RecBole's score of the best epoch.
            show_progress: Whether to show progress bars.
        """
        if self._finished or test_data is self.valid_data:
            return
        shares_rows = self.train_data._dataset.shares_rows
        if not self.writes and not shares_rows:
            if self.config["save_predictions"] and any(sharded_tables(model)):  # its rows are needed
                for data in filter(None, (self.valid_data, test_data)):
                    self._predict(model, data, "", show_progress=False)
            return
        self._finished = True
        parts = {"valid": self.valid_data, "test": test_data}
        loaders = {split: data for split, data in parts.items() if data is not None}
        scores = self._baseline_scores({split: data._dataset for split, data in loaders.items()})
        valid_auc = best_valid_score if str(self.config["valid_metric"]).lower() == "auc" else float("nan")
        if self.config["save_predictions"]:
            tables = {
                split: self._predict(model, data, split, show_progress=show_progress).join(
                    scores.get(split, pd.DataFrame())
                )
                for split, data in loaders.items()
            }
            plm = self.config["plm"] if self.method.serves_text_with(self.config) else None
            preprocessing = observe(self.train_data._dataset, plm, encoded_levels(model))
        counts = training_rows(self.train_data._dataset)
        if not self.writes:
            return
        if self.config["save_predictions"]:
            write_predictions(self.folder, pd.concat(tables.values(), ignore_index=True))
            save_preprocessing(preprocessing, self.folder)
            if "valid" in tables:
                valid_auc = auc(tables["valid"]["label"], tables["valid"]["score"])
        rows = {split: row_keys(loaders[split]._dataset).join(table) for split, table in scores.items()}
        baselines = measure_baselines(rows)
        title, dataset = self.method.title(self.config), self.train_data._dataset
        write_counts(self.folder, counts)
        settings = {key: _plain(value) for key, value in self.config.final_config_dict.items()}
        write_info(
            self.folder,
            {
                **{key: settings.get(key) for key in ("model", "dataset", "backbone", "seed")},
                "title": title,
                "settings": settings,
                "command": _command(),
                "date": datetime.now().astimezone().isoformat(timespec="seconds"),
                "test_result": {name: float(value) for name, value in result.items()},
                "best_valid_score": float(best_valid_score),
                "checkpoint": self.checkpoint.name,
                "train_counts": "train_counts.parquet",
                "baselines": baselines,
                "tables": [table._asdict() for table in self.method.tables(self.config, model, dataset)],
            },
        )
        getLogger().info(f"run folder: {self.folder}")
        _log_baselines(baselines, title, float(valid_auc))
        for finished in _watchers:
            finished.append(self.checkpoint)

    def _predict(
        self, model: CTRModel, data: AbstractDataLoader, split: str, *, show_progress: bool
    ) -> pd.DataFrame:
        device, enable_amp = self.config["device"], self.config["enable_amp"]
        table = predict_split(
            model, data, split=split, device=device, enable_amp=enable_amp, show_progress=show_progress
        )
        return gather_predictions(table, data._dataset)

    def _baseline_scores(self, parts: dict[str, Dataset]) -> dict[str, pd.DataFrame]:
        if not self.config["baselines"]:
            return {}
        folder, name = Path(self.config["checkpoint_dir"]), self.config["dataset"]
        # Without train_negatives, whose correction is part of the model
        train = sample(self.config, self.all_rows._dataset, "train_rows")
        return baseline_scores(folder, train, parts, name=name)


def _log_baselines(baselines: Baselines, title: str, valid_auc: float) -> None:
    found = {
        split: {name: metrics[split]["auc"] for name, metrics in baselines.items() if split in metrics}
        for split in ("valid", "test")
    }
    for split, values in found.items():
        if values:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
            getLogger().info(f"AUC of baselines on the {split} rows: {shown}")
    if sentence := better_baseline(title, valid_auc, found["valid"]):
        getLogger().warning(sentence)


def _writes(config: Settings) -> bool:
    # Only the first of several processes writes
    return (config["local_rank"] or 0) + (config["offset"] or 0) == 0


def _plain(value: object) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _command() -> list[str]:
    if multiprocessing.parent_process() is not None:
        return list(sys.argv)  # the command line of a child process is not the user's
    # The command-line entry point clears sys.argv, which RecBole would read
    _, *arguments = sys.orig_argv
    if arguments and Path(arguments[0]).name == "recbole-cp":
        return ["recbole-cp", *arguments[1:]]
    return ["python", *arguments]

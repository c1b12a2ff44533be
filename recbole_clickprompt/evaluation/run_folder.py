"""The folder of a finished run: predictions, learning curves, settings and counts of its training rows.

It lies beside the run's checkpoint ``<stem>.pth`` and is called ``<stem>``:

- ``predictions.parquet``: a line for each validation and test row, in the order of the data set;
- ``history.jsonl``: a line for each epoch of both stages;
- ``train_counts.parquet``: how many training rows each user and item has; those without any are left out;
- ``run.json``: model, settings, command and result; written last, so that a folder that has it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.history import read_epochs
from recbole_clickprompt.files import write_text, write_whole
from recbole_clickprompt.settings.old_names import settings_of_saved_run

__all__ = ["RunFolder", "folder_of", "open_run", "write_counts", "write_info", "write_predictions"]

_PREDICTIONS = {
    "split": "string",
    "user": "string",
    "item": "string",
    "label": "int8",
    "time": "int64",
    "score": "float64",
}
_COUNTS = {"kind": "string", "token": "string", "rows": "int64"}
_INFO: dict[str, tuple[type, str]] = {
    "model": (str, "a text"),
    "dataset": (str, "a text"),
    "backbone": (str, "a text"),
    "seed": (int, "a whole number"),
    "settings": (dict, "a mapping"),
    "command": (list, "a list of texts"),
}


@dataclass(frozen=True)
class RunFolder:
    """A finished run.

    Attributes:
        folder: Where it lies.
        info: What ``run.json`` holds: ``model``, ``dataset``, ``backbone``, ``seed``, ``settings``, ``command``,
            ``test_result``, ``best_valid_score``, ``checkpoint``, ``train_counts``, and ``title``.
    """

    folder: Path
    info: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """RecBole's checkpoint of this run; nothing here reads it."""
        return self.folder.parent / self.info["checkpoint"]

    @property
    def title(self) -> str:
        """The model in words, such as ``DCNV2`` or ``ClickPrompt with PLM (DCNV2)``."""
        # Runs of earlier versions have no title
        return self.info.get("title") or f"{self.info['model']} ({self.info.get('backbone')})"

    def predictions(self, split: str | None = None) -> pd.DataFrame:
        """Scores of validation and test rows, in the order of the data set.

        Args:
            split: ``valid`` or ``test`` for these rows alone, counted from 0.

        Returns:
            Columns ``split``, ``user``, ``item`` (tokens of the data files), ``label`` (0 or 1), ``time`` (of the
            data files, missing where they have none), ``score`` (from 0 to 1), and those that the run's method
            adds, such as ``logit_ctr``.

        Raises:
            DataError: The run kept none, or the file is damaged.
        """
        path = self.folder / "predictions.parquet"
        if not path.is_file():
            raise DataError(f"{self.folder} has no predictions.parquet; train with save_predictions: True")
        table = _read_parquet(path, _PREDICTIONS)
        _refuse(table, "split", ~table["split"].isin(["valid", "test"]), "valid or test", path)
        for name in ("user", "item"):
            _refuse(table, name, table[name].isna(), "a text", path)
        _refuse(table, "label", ~table["label"].isin([0, 1]), "0 or 1", path)
        _refuse(table, "score", ~table["score"].between(0, 1), "a number from 0 to 1", path)
        return table if split is None else table[table["split"] == split].reset_index(drop=True)

    def history(self) -> pd.DataFrame:
        """Learning curves: columns ``stage`` (``pretrain``, ``finetune``), ``epoch`` and the figures of either.

        Raises:
            DataError: A figure is infinite.
        """
        file = self.folder / "history.jsonl"
        table = pd.DataFrame(read_epochs(file))
        for name in table.columns.difference(["stage"]):
            table[name] = table[name].astype(float if name != "epoch" else int)  # also where all are null
            _refuse(table, name, table[name].abs() == float("inf"), "a finite number or null", file)
        return table

    def train_counts(self) -> pd.DataFrame:
        """Training rows of each user and item that has any: columns ``kind``, ``token``, ``rows``.

        Raises:
            DataError: The file is damaged.
        """
        path = self.folder / self.info["train_counts"]
        table = _read_parquet(path, _COUNTS)
        _refuse(table, "kind", ~table["kind"].isin(["user", "item"]), "user or item", path)
        _refuse(table, "token", table["token"].isna(), "a text", path)
        _refuse(table, "rows", ~table["rows"].gt(0).fillna(False).astype(bool), "a number above 0", path)
        _refuse(table, "token", table.duplicated(["kind", "token"]), "there once for its kind", path)
        return table


def folder_of(checkpoint: str | Path) -> Path:
    """The run folder that belongs to a checkpoint."""
    return Path(checkpoint).with_suffix("")


def open_run(path: str | Path) -> RunFolder:
    """A finished run, by its ``.pth`` file or its folder.

    Raises:
        DataError: There is none, or it is not finished.
    """
    path = Path(path)
    folder = folder_of(path) if path.suffix == ".pth" else path
    file = folder / "run.json"
    if not file.is_file():
        what = "is no folder of a finished run: it lacks run.json" if folder.is_dir() else "does not exist"
        raise DataError(f"{folder} {what}; give the .pth file that training wrote, or the folder beside it")
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}") from error
    for key in ("checkpoint", "train_counts"):
        name = info.get(key) if isinstance(info, dict) else None
        if not name or not isinstance(name, str) or Path(name).name != name:
            raise DataError(f"{file}: {key} must be the name of a file of this run, without a path, got {name!r}")
    if isinstance(settings := info.get("settings"), dict):
        info["settings"] = settings_of_saved_run(settings)
    if not isinstance(info.get("title"), str | None):
        raise DataError(
            f"{file}: title must be a text, got {_short(info['title'])}; restore the file or train again"
        )
    for key, (kind, told) in _INFO.items():
        value = info.get(key)
        texts = not isinstance(value, list) or all(isinstance(part, str) for part in value)
        if not isinstance(value, kind) or isinstance(value, bool) or not texts:
            got = _short(value) if key in info else "nothing"
            raise DataError(f"{file}: {key} must be {told}, got {got}; restore the file or train again")
    return RunFolder(folder=folder, info=info)


def write_predictions(folder: Path, table: pd.DataFrame) -> None:
    """Writes the predictions; see ``RunFolder.predictions`` for the columns."""
    added = {name: "float32" for name in table.columns if name not in _PREDICTIONS}
    _write_parquet(table, folder / "predictions.parquet", {**_PREDICTIONS, **added})


def write_counts(folder: Path, counts: Mapping[str, pd.Series]) -> None:
    """Writes training rows by kind (``user``, ``item``): series of counts, indexed by token."""
    tables = [
        pd.DataFrame({"kind": kind, "token": rows.index.astype(str), "rows": rows.to_numpy()})
        for kind, rows in counts.items()
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*_COUNTS])
    _write_parquet(table, folder / "train_counts.parquet", _COUNTS)


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Writes ``run.json``, which makes the folder that of a finished run."""
    text = json.dumps(dict(info), indent=1, ensure_ascii=False, default=str)
    write_text(folder / "run.json", f"{text}\n")


def _write_parquet(table: pd.DataFrame, path: Path, columns: Mapping[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"string": pa.string(), "int8": pa.int8(), "int64": pa.int64(),
             "float32": pa.float32(), "float64": pa.float64()}  # fmt: skip
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    content = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    write_whole(path, lambda partial: pq.write_table(content, partial))


def _read_parquet(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # ParquetFile and not read_table: folders called a=b would be taken for partitions
        table = pq.ParquetFile(path).read().replace_schema_metadata(None)  # what pandas would read on top
        table.validate(full=True)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is missing or damaged: {' '.join(str(error).split())}") from error
    # What a method adds to predictions are numbers
    for name, kind in {**dict.fromkeys(table.schema.names, "float32"), **columns}.items():
        found = table.schema.field(name).type if name in table.schema.names else None
        fits = found is not None and (
            pa.types.is_string(found) or pa.types.is_large_string(found)
            if kind == "string"
            else pa.types.is_integer(found)
            if kind.startswith("int")
            else pa.types.is_floating(found)
        )
        if not fits:
            raise DataError(f"{path}: column {name} must be of {kind}, got {found or 'no such column'}")
    # A row without a time leaves the others whole numbers
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


def _refuse(table: pd.DataFrame, column: str, wrong: pd.Series, expected: str, path: Path) -> None:
    for row in table.index[wrong][:1]:
        got = _short(table[column][row])
        raise DataError(f"{path}, row {row + 1}: {column} must be {expected}, got {got}; train again")


def _short(value: Any) -> str:
    value = value.item() if hasattr(value, "item") else value
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."

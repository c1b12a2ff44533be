"""The parquet files of a run folder, their columns, and the checks of their values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.value_checks import reject_rows
from recbole_clickprompt.files import write_whole

__all__ = ["PREDICTIONS_FILE", "read_counts", "read_predictions", "write_counts", "write_predictions"]

PREDICTIONS_FILE = "predictions.parquet"
_COUNTS_FILE = "train_counts.parquet"
_PREDICTIONS = {
    "split": "string",
    "user": "string",
    "item": "string",
    "label": "int8",
    "time": "int64",
    "score": "float64",
}
_COUNTS = {"kind": "string", "token": "string", "rows": "int64"}


def read_predictions(path: Path) -> pd.DataFrame:
    """The predictions of a run; see ``RunFolder.predictions`` for the columns.

    Raises:
        DataError: The file is damaged, or a value is invalid.
    """
    table = _read_parquet(path, _PREDICTIONS)
    reject_rows(table, "split", ~table["split"].isin(["valid", "test"]), "valid or test", path)
    for name in ("user", "item"):
        reject_rows(table, name, table[name].isna(), "a text", path)
    reject_rows(table, "label", ~table["label"].isin([0, 1]), "0 or 1", path)
    reject_rows(table, "score", ~table["score"].between(0, 1), "a number from 0 to 1", path)
    return table


def read_counts(path: Path) -> pd.DataFrame:
    """The number of training rows by user and item; see ``RunFolder.train_counts`` for the columns.

    Raises:
        DataError: The file is damaged, or a value is invalid.
    """
    table = _read_parquet(path, _COUNTS)
    reject_rows(table, "kind", ~table["kind"].isin(["user", "item"]), "user or item", path)
    reject_rows(table, "token", table["token"].isna(), "a text", path)
    reject_rows(table, "rows", ~table["rows"].gt(0).fillna(False).astype(bool), "a number above 0", path)
    reject_rows(table, "token", table.duplicated(["kind", "token"]), "unique within its kind", path)
    return table


def write_predictions(folder: Path, table: pd.DataFrame) -> None:
    """Writes the predictions; see ``RunFolder.predictions`` for the columns."""
    added = {name: "float32" for name in table.columns if name not in _PREDICTIONS}
    _write_parquet(table, folder / PREDICTIONS_FILE, {**_PREDICTIONS, **added})


def write_counts(folder: Path, counts: Mapping[str, pd.Series]) -> None:
    """Writes the number of training rows by kind (``user``, ``item``): series of counts, indexed by token."""
    tables = [
        pd.DataFrame({"kind": kind, "token": rows.index.astype(str), "rows": rows.to_numpy()})
        for kind, rows in counts.items()
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*_COUNTS])
    _write_parquet(table, folder / _COUNTS_FILE, _COUNTS)


def _write_parquet(table: pd.DataFrame, path: Path, columns: Mapping[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"string": pa.string(), "int8": pa.int8(), "int64": pa.int64(),
             "float32": pa.float32(), "float64": pa.float64()}  # fmt: skip
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    content = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    write_whole(path, lambda partial: pq.write_table(content, partial))


def _read_parquet(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """A table with at least these columns; further ones, which a method adds to predictions, must be floats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not read_table, which takes folders named a=b for partitions
        table = pq.ParquetFile(path).read().replace_schema_metadata(None)  # pandas would parse the metadata
        table.validate(full=True)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is missing or damaged: {' '.join(str(error).split())}") from error
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
            raise DataError(f"{path}: column {name} must be of type {kind}, got {found or 'no such column'}")
    # A nullable type: with a missing time, pandas would turn all times into floats
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)

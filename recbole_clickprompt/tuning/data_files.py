"""Recognizes that the files of a data set have changed since runs were recorded in a table."""

from __future__ import annotations

import functools
import glob
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.properties import find_property_file, read_yaml
from recbole_clickprompt.preprocessing.checksums import sha256_of
from recbole_clickprompt.tuning.results import digest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATA", "check_same_data", "data_digest"]

DATA = "data"  # the column with the digest; earlier versions wrote none


def data_digest(settings: Mapping[str, Any]) -> str | None:
    """Identifies the atomic files and the property file of a run's data set; None if neither exists.

    Args:
        settings: Those of the run, with ``dataset``.
    """
    name = str(settings["dataset"])
    shared, own = _properties("overall.yaml"), _properties(f"dataset/{name}.yaml")
    path = {**shared, **own, **settings}.get("data_path")
    files = sorted(Path(str(path), name).glob(f"{glob.escape(name)}.*"))
    if not files and not own:
        return None
    content = {file.name: _digest_of(file.absolute(), *_identity(file)) for file in files if file.is_file()}
    return digest(content, own)


def check_same_data(rows: pd.DataFrame, now: str | None, *, table: Path, dataset: str) -> None:
    """Checks that recorded runs read the files that there are now.

    Args:
        rows: Rows of a table, with a column ``data`` unless an earlier version wrote all of them.
        now: The digest of today's files; None if there are none.
        table: The file or folder of the rows, for the message.
        dataset: The name of the data set, for the message.

    Raises:
        DataError: A row has another digest.
    """
    if now is None or DATA not in rows:
        return
    known = rows[DATA].dropna()
    if (known != now).any():
        raise DataError(
            f"{table} has runs on data set {dataset} as it was before its files or its property file changed, "
            "which cannot be compared with new ones; move it away to run all again, or give the new data another "
            "name"
        )


def _properties(name: str) -> Mapping[str, Any]:
    """The content of a property file; empty if there is none."""
    file = find_property_file(name)
    return {} if file is None else _read(file.absolute(), *_identity(file))


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


# Both are read again only if the size or the time of change differs


@functools.lru_cache(maxsize=256)
def _read(file: Path, size: int, modified: int) -> Mapping[str, Any]:
    return read_yaml(file)


@functools.lru_cache(maxsize=256)
def _digest_of(file: Path, size: int, modified: int) -> str:
    return sha256_of(file)

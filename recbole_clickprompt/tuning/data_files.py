"""Recognizes that files that runs read have changed since the runs were recorded in a table."""

from __future__ import annotations

import functools
import glob
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.properties import find_property_file, property_folders, read_yaml
from recbole_clickprompt.knowledge.embedded import find_knowledge
from recbole_clickprompt.preprocessing.checksums import sha256_of
from recbole_clickprompt.tuning.results import digest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATA", "check_same_data", "data_digest"]

DATA = "data"  # the column with the digest; earlier versions wrote none


def data_digest(settings: Mapping[str, Any]) -> str | None:
    """Identifies the files that a run reads: those of its data set, and others of the user's own.

    The former are its atomic files and its property file, the latter property files of the method and of its
    backbone in ``./props``, and files of knowledge. Those that the package ships do not count, so that its next
    version continues a table.

    Args:
        settings: Those of the run, with ``dataset``.

    Returns:
        Letters and digits; None if the data set has no file yet.

    Raises:
        DataError: A file of knowledge does not exist.
    """
    name = str(settings["dataset"])
    shared, own = _properties("overall.yaml"), _properties(f"dataset/{name}.yaml")
    path = {**shared, **own, **settings}.get("data_path")
    files = sorted(Path(str(path), name).glob(f"{glob.escape(name)}.*"))
    if not files and not own:
        return None
    content = {file.name: _digest_of(file.absolute(), *_identity(file)) for file in files if file.is_file()}
    extra = _own_files(settings, own)
    return digest(content, own, extra) if extra else digest(content, own)


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
            f"{table} has runs on data set {dataset} as it was before its files, a property file or a file of "
            "knowledge changed, which cannot be compared with new ones; move it away to run all again, or give "
            "the new data another name"
        )


def _properties(name: str) -> Mapping[str, Any]:
    """The content of a property file; empty if there is none."""
    file = find_property_file(name)
    return {} if file is None else _read(file.absolute(), *_identity(file))


def _own_files(settings: Mapping[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The content of property files, and digests of files of knowledge, that are not the package's."""
    names = ["overall.yaml", f"model/{settings.get('model')}.yaml", f"backbone/{settings.get('backbone')}.yaml"]
    content: dict[str, Any] = {
        name: _properties(name) for name in names if (file := find_property_file(name)) and _is_own(file)
    }
    merged = {name: value for own in (*content.values(), dataset, settings) for name, value in own.items()}
    named = merged.get("knowledge")
    for name in named if isinstance(named, list) else []:  # another type is refused with the other settings
        if _is_own(file := find_knowledge(str(name))):
            content[str(name)] = _digest_of(file.absolute(), *_identity(file))
    return content


def _is_own(file: Path) -> bool:
    return property_folders()[1].resolve() not in file.resolve().parents


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

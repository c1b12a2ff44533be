"""Finds the files of a data set. Missing ones are prepared by this package or downloaded by RecBole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from logging import getLogger
from pathlib import Path
from zipfile import BadZipFile

import recbole.data.dataset.dataset as recbole_dataset
import torch

from recbole_clickprompt.data.convert.download import RemoteFile, fetch, remote_size
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.errors import DataError

__all__ = ["obtain", "resolve_split_files"]

_MOST_BYTES = 1 << 36  # maximum size of an archive that RecBole downloads


def resolve_split_files(folder: Path, name: str, parts: list[str] | None) -> list[str] | None:
    """Decides whether to read the files of a ready-made split or the whole file.

    Args:
        folder: The folder of the atomic files.
        name: The name of the data set.
        parts: ``benchmark_filename``. If none of these files exists but the whole file does, a warning is logged.

    Returns:
        The suffixes of the parts; None for the whole file, whose rows RecBole splits.

    Raises:
        DataError: A file is missing.
    """
    whole = folder / f"{name}.inter"
    files = [folder / f"{name}.{part}.inter" for part in parts or ()]
    if files and whole.is_file() and not any(file.is_file() for file in files):
        getLogger().warning(
            f"{folder} has no {files[0].name}, so its rows are split as eval_args says; "
            f"`recbole-cp prepare` creates the exact split"
        )
        return None
    for file in files or [whole]:
        if not file.is_file():
            found = ", ".join(sorted(path.name for path in folder.iterdir())[:12])
            raise DataError(f"{file} does not exist; {folder} contains {found or 'nothing'}")
    return parts


def obtain(name: str, folder: Path, download: Callable[[], None]) -> None:
    """Creates the missing folder of a data set.

    Args:
        name: The name of the data set.
        folder: The folder for its atomic files.
        download: RecBole's own download, for data sets that ``recbole-cp prepare`` does not know.

    Raises:
        DataError: The data set cannot be obtained; says what to do. No partial folder remains.
    """
    from recbole_clickprompt.data.convert.catalog import RECIPES, how_to_get, prepare

    if name in RECIPES:
        if not RECIPES[name].small:
            raise DataError(f"{folder} does not exist; {how_to_get(name, folder.parent)}")
        try:
            prepare(name, None, folder.parent)
        except DataError as error:
            raise DataError(f"{folder} does not exist, and preparing it failed: {error}") from error
        return
    try:
        with _removed_on_failure(folder), _our_downloads():
            download()
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, BadZipFile, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{folder} does not exist, and RecBole cannot download {name} ({reason}); put {name}.inter, "
            ".user and .item into it, or set data_path"
        ) from error


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it did not exist before
        raise


@contextmanager
def _our_downloads() -> Iterator[None]:
    """A context in which RecBole uses the download and unpacking of this package, which limit and check sizes."""
    # RecBole's barrier after a download would hang: the other ranks wait in `ProcessGroup.main_process_first`
    barrier = torch.distributed.barrier
    originals = {
        name: getattr(recbole_dataset, name) for name in ("decide_download", "download_url", "extract_zip")
    }
    torch.distributed.barrier = lambda *_, **__: None
    recbole_dataset.decide_download = _confirm_download
    recbole_dataset.download_url = _download
    recbole_dataset.extract_zip = _unpack
    try:
        yield
    finally:
        torch.distributed.barrier = barrier
        for name, function in originals.items():
            setattr(recbole_dataset, name, function)


def _confirm_download(url: str) -> bool:
    """Asks the user, as RecBole does, before downloading more than 1 GB."""
    size = remote_size(url) or 0
    if size <= 1 << 30:
        return True
    return input(f"This will download {size / 2**30:.2f} GB. Will you proceed? (y/N)\n").strip().lower() == "y"


def _download(url: str, folder: str) -> str:
    return str(fetch(RemoteFile(url, most_bytes=_MOST_BYTES), Path(folder)))


def _unpack(path: str, folder: str) -> None:
    raw = RawFiles(Path(path))
    for name in raw.names():
        with raw.stream(name) as content, (Path(folder) / name).open("wb") as file:
            shutil.copyfileobj(content, file)

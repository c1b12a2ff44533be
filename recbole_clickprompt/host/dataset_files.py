"""The files of a data set: which are read, and how to get them: ours are prepared, RecBole's downloaded."""

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

_MOST_BYTES = 1 << 36  # of an archive of RecBole's


def resolve_split_files(folder: Path, name: str, parts: list[str] | None) -> list[str] | None:
    """The parts of an exact split to read; None for the whole file, whose rows RecBole splits.

    Args:
        folder: Where the atomic files are.
        name: The data set.
        parts: ``benchmark_filename``. Where none of them is there, but the whole file is, a warning says so.

    Raises:
        DataError: A file is not there.
    """
    whole = folder / f"{name}.inter"
    files = [folder / f"{name}.{part}.inter" for part in parts or ()]
    if files and whole.is_file() and not any(file.is_file() for file in files):
        getLogger().warning(
            f"{folder} has no {files[0].name}, so its rows are split as eval_args says; "
            f"`recbole-cp prepare` makes the exact split"
        )
        return None
    for file in files or [whole]:
        if not file.is_file():
            there = ", ".join(sorted(path.name for path in folder.iterdir())[:12])
            raise DataError(f"there is no file {file}; {folder} holds {there or 'nothing'}")
    return parts


def obtain(name: str, folder: Path, download: Callable[[], None]) -> None:
    """Makes ``folder``, which is not there.

    Args:
        name: The data set.
        folder: Where its atomic files belong.
        download: RecBole's own way, for what ``recbole-cp prepare`` does not know.

    Raises:
        DataError: It cannot be had; says what to do. Nothing is left in its place.
    """
    from recbole_clickprompt.data.convert.catalog import RECIPES, how_to_get, prepare

    if name in RECIPES:
        if not RECIPES[name].small:
            raise DataError(f"there is no folder {folder}; {how_to_get(name, folder.parent)}")
        try:
            prepare(name, None, folder.parent)
        except DataError as error:
            raise DataError(f"there is no folder {folder}: {error}") from error
        return
    try:
        with _removed_on_failure(folder), _our_downloads():
            download()
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, BadZipFile, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"there is no folder {folder} and RecBole cannot download {name} ({reason}); put {name}.inter, "
            ".user and .item there, or set data_path"
        ) from error


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it was not there before
        raise


@contextmanager
def _our_downloads() -> Iterator[None]:
    """RecBole downloads and unpacks in our way, which is bounded and checks what comes."""
    # Behind a download RecBole waits for its own other ranks; ours wait in `ProcessGroup.in_turn`
    barrier = torch.distributed.barrier
    theirs = {name: getattr(recbole_dataset, name) for name in ("decide_download", "download_url", "extract_zip")}
    torch.distributed.barrier = lambda *_, **__: None
    recbole_dataset.decide_download = _agreed
    recbole_dataset.download_url = _download
    recbole_dataset.extract_zip = _unpack
    try:
        yield
    finally:
        torch.distributed.barrier = barrier
        for name, function in theirs.items():
            setattr(recbole_dataset, name, function)


def _agreed(url: str) -> bool:
    """As RecBole asks, before it downloads more than 1 GB."""
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

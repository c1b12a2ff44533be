"""The files of a data set: which are read, and how to get them: ours are prepared, RecBole's downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from zipfile import BadZipFile

import torch

from recbole_clickprompt.errors import DataError

__all__ = ["choose_parts", "obtain"]


def choose_parts(folder: Path, name: str, parts: list[str] | None) -> list[str] | None:
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
    from recbole_clickprompt.data.convert.recipes import RECIPES, how_to_get, prepare

    if name in RECIPES:
        if not RECIPES[name].small:
            raise DataError(f"there is no folder {folder}; {how_to_get(name, folder.parent)}")
        try:
            prepare(name, None, folder.parent)
        except DataError as error:
            raise DataError(f"there is no folder {folder}: {error}") from error
        return
    try:
        with _without_barrier():
            download()
    except (OSError, ValueError, RuntimeError, EOFError, BadZipFile) as error:
        shutil.rmtree(folder, ignore_errors=True)  # it was not there before
        reason = " ".join(str(error).split())
        raise DataError(
            f"there is no folder {folder} and RecBole cannot download {name} ({reason}); put {name}.inter, "
            ".user and .item there, or set data_path"
        ) from error


@contextmanager
def _without_barrier() -> Iterator[None]:
    # Behind a download RecBole waits for its own other ranks; ours wait in `Ranks.in_turn`
    barrier = torch.distributed.barrier
    torch.distributed.barrier = lambda *_, **__: None
    try:
        yield
    finally:
        torch.distributed.barrier = barrier

"""Gets a data set that is not there: ours are prepared, RecBole's downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

from recbole_clickprompt.errors import DataError

__all__ = ["obtain"]


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
        download()
    except (OSError, ValueError, RuntimeError, EOFError, BadZipFile) as error:
        # Behind a finished download RecBole waits for other processes, also where there are none
        if not (folder / f"{name}.inter").is_file():
            shutil.rmtree(folder, ignore_errors=True)  # it was not there before
            reason = " ".join(str(error).split())
            raise DataError(
                f"there is no folder {folder} and RecBole cannot download {name} ({reason}); put {name}.inter, "
                ".user and .item there, or set data_path"
            ) from error

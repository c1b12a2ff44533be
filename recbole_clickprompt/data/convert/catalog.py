"""The public data sets that can be prepared: their files, converters and published counts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recbole_clickprompt.data.convert.amazon import convert_amazon_toys_games_18
from recbole_clickprompt.data.convert.bookcrossing import convert_book_crossing
from recbole_clickprompt.data.convert.download import RemoteFile, fetch
from recbole_clickprompt.data.convert.goodreads import convert_goodreads
from recbole_clickprompt.data.convert.kdd2012 import convert_kdd2012
from recbole_clickprompt.data.convert.movielens import convert_ml_1m, convert_ml_100k, convert_ml_latest_small
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.data.convert.split import Counts
from recbole_clickprompt.data.convert.unpacking import DamagedFile
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.files import new_folder

__all__ = ["RECIPES", "Recipe", "how_to_get", "prepare"]

_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_AMAZON = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2"
_LARGE = 1 << 35
_GOODREADS = "https://mcauleylab.ucsd.edu/public_datasets/gdrive/goodreads"
_KAGGLE = "https://www.kaggle.com/c/kddcup2012-track2/download"


@dataclass(frozen=True)
class Recipe:
    """How a data set is prepared.

    Attributes:
        files: The publisher's files.
        convert: Writes the atomic files to a folder and returns their counts.
        published: Counts of the paper, or of the publisher if the data set is not in the paper.
        license: One line.
        small: A run that needs it may download it.
        consent: What the publisher asks for before a person may download the files; empty if a program may.
    """

    files: tuple[RemoteFile, ...]
    convert: Callable[[RawFiles, Path], Counts]
    published: Counts
    license: str
    small: bool = False
    consent: str = ""


_MOVIELENS = "research use, no redistribution, no commercial use; cite Harper and Konstan, 2015"

RECIPES = {
    "ml-1m": Recipe(
        (RemoteFile(f"{_GROUPLENS}/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"),),
        convert_ml_1m,
        Counts(1_000_209, 739_012, 575_281, (591_208, 73_902, 73_902), 17_251),
        _MOVIELENS,
        small=True,
    ),
    "ml-100k": Recipe(
        (RemoteFile(f"{_GROUPLENS}/ml-100k.zip", "0e33842e24a9c977be4e0107933c0723"),),
        convert_ml_100k,
        Counts(100_000),
        _MOVIELENS,
        small=True,
    ),
    "ml-latest-small": Recipe(
        # GroupLens updates this one from time to time, so neither checksum nor count is fixed
        (RemoteFile(f"{_GROUPLENS}/ml-latest-small.zip"),),
        convert_ml_latest_small,
        Counts(),
        _MOVIELENS,
        small=True,
    ),
    "book-crossing": Recipe(
        (RemoteFile("http://www2.informatik.uni-freiburg.de/~cziegler/BX/BX-CSV-Dump.zip"),),
        convert_book_crossing,
        Counts(1_149_780, 1_031_171, None, (824_936, 103_117, 103_118), 722_234),
        "freely available for research; cite Ziegler et al., 2005",
        small=True,
    ),
    "amazon-toys-games-18": Recipe(
        (
            RemoteFile(f"{_AMAZON}/categoryFiles/Toys_and_Games.json.gz", most_bytes=_LARGE),
            RemoteFile(f"{_AMAZON}/metaFiles2/meta_Toys_and_Games.json.gz", most_bytes=_LARGE),
        ),
        convert_amazon_toys_games_18,
        Counts(None, 1_862_228, None, (1_489_782, 186_223, 186_223), 371_813),
        "research use; cite Ni, Li and McAuley, 2019",
    ),
    "goodreads": Recipe(
        tuple(
            RemoteFile(f"{_GOODREADS}/goodreads_{part}.json.gz", most_bytes=_LARGE)
            for part in ("interactions_dedup", "books", "book_authors", "book_genres_initial", "book_works")
        ),
        convert_goodreads,
        Counts(None, 20_122_040, None, (16_097_632, 2_012_204, 2_012_204), 4_565_430),
        "academic use, no redistribution, no commercial use; cite Wan and McAuley, 2018",
    ),
    "kdd2012": Recipe(
        (RemoteFile(f"{_KAGGLE}/track2.zip", most_bytes=_LARGE),),
        convert_kdd2012,
        Counts(149_639_105, 13_624_635, users=2_202_355, items=288_794),
        "the rules of the competition on Kaggle, which you accept there to download it; no redistribution",
        consent="log in to Kaggle and accept the rules of the competition",
    ),
}


def how_to_get(name: str, out: Path) -> str:
    """How to prepare a data set by hand, in one sentence."""
    files, consent = RECIPES[name].files, RECIPES[name].consent
    where = " and ".join(file.url for file in files)
    raw = files[0].name
    together = f", put {'it' if len(files) == 1 else 'all into one folder'}" if len(files) > 1 else ""
    place = "" if str(out) == "dataset_atomic" else f" --out {out}"
    first = f"{consent}, " if consent else ""
    return f"{first}fetch {where}{together}, then run `recbole-cp prepare {name} --raw {raw}{place}`"


def prepare(name: str, raw: Path | None, out: Path, *, show_progress: bool = True) -> Counts:
    """Makes ``out/name`` from the publisher's files; nothing is left of it on an error.

    Args:
        name: One of ``RECIPES``.
        raw: The archive, a folder, or one file of a folder; None downloads them to ``out/.downloads`` unless
            the publisher asks for consent.
        out: Folder of data sets.
        show_progress: Whether downloads show a bar.

    Raises:
        DataError: The files are missing, damaged, not the publisher's or only sent to a person, or the folder
            exists already.
    """
    recipe = RECIPES[name]
    if (out / name).exists():
        raise DataError(f"{out / name} is there already; remove it, or choose another place with --out")
    downloaded, begun = raw is None, not out.exists()
    if raw is None and recipe.consent:
        raise DataError(f"{name} cannot be downloaded by a program; {how_to_get(name, out)}")
    if raw is None:
        folder = out / ".downloads" / name
        try:
            paths = [fetch(file, folder, show_progress=show_progress) for file in recipe.files]
        except DataError as error:
            with suppress(OSError):  # kept if they hold a partial download
                folder.rmdir()
                folder.parent.rmdir()
                if begun:
                    out.rmdir()
            raise DataError(f"{error}; or {how_to_get(name, out)}") from error
        raw = paths[0] if len(paths) == 1 else folder
    with new_folder(out / name) as work:
        try:
            counts = recipe.convert(RawFiles(raw), work)
        except DamagedFile as error:
            if downloaded:
                error.path.unlink()  # so that the same command downloads it again
            raise
        expected = recipe.published.raw_rows
        if downloaded and expected is not None and counts.raw_rows != expected:
            raise DataError(
                f"{raw} holds {counts.raw_rows} rows where {expected} are expected; it is not the publisher's "
                "file, remove it and try again"
            )
    return counts

"""KDD Cup 2012, track 2: ads on soso.com. 150 million lines, which are streamed; a tenth of the users is kept.

The item is the ad. A row is a line of ``training.txt``: a user, a query and an ad at one place, with the number of
times that this was shown (impressions) and clicked. Its label is 1 if there was a click.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.atomic import AtomicWriter, write_atomic
from recbole_clickprompt.data.convert.distinct_rows import DistinctRows
from recbole_clickprompt.data.convert.number_lines import LIST, NUMBER, read_number_lines
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.data.convert.split import Counts
from recbole_clickprompt.data.convert.spool import Spool
from recbole_clickprompt.errors import DataError

__all__ = ["convert_kdd2012", "is_sampled"]

_NAME = "kdd2012"
_SHARE = 10  # one user in so many is kept
_ROWS = "training.txt"
_COLUMNS = (
    "clicks", "impressions", "url_id", "ad_id", "advertiser_id", "depth", "position", "query_id", "keyword_id",
    "title_id", "description_id", "user_id",
)  # fmt: skip
_PROFILES = "userid_profile.txt"
_PROFILE = ("user_id", "gender", "age")
_TEXTS = {
    "query": "queryid_tokensid.txt",
    "keyword": "purchasedkeywordid_tokensid.txt",
    "title": "titleid_tokensid.txt",
    "description": "descriptionid_tokensid.txt",
}
_OF_ADS = ("title", "keyword", "description")
_INTER = {
    **dict.fromkeys(("user_id", "ad_id"), "token"),
    "click": "float",
    **dict.fromkeys(_COLUMNS[2:3] + _COLUMNS[4:11], "token"),
    **dict.fromkeys(_TEXTS, "token_seq"),
    "num_impressions": "float",
    "num_clicks": "float",
}


def convert_kdd2012(raw: RawFiles, folder: Path) -> Counts:
    """``training.txt``, the profiles of users and the four files of tokens to atomic files.

    A tenth of the users is kept. Rows have the order of the file. Memory grows with the number of kept users, ads
    and texts, not of rows, which are in a temporary file inside ``folder`` until their texts are known.

    Raises:
        DataError: A file is missing, damaged or not the publisher's; with file and line.
    """
    for file in (_PROFILES, *_TEXTS.values()):
        raw.require(file)
    with tempfile.TemporaryDirectory(prefix="rows.", dir=folder) as scratch:
        rows = _Rows(raw, Path(scratch) / "rows.arrow")
        remarks = [*rows.notes(), *_write_users(raw, rows.distinct["user_id"].numbers(), folder)]
        texts = {}
        for name, file in _TEXTS.items():
            texts[name] = _Texts(raw, file, rows.distinct[f"{name}_id"].numbers(), name)
            remarks += texts[name].notes
        positive, written = _write_rows(rows, texts, folder)
    ads = rows.ads.rows().sort("ad_id")
    described = ads.select("ad_id", *(texts[name](ads[f"{name}_id"]).alias(f"ad_{name}") for name in _OF_ADS))
    types = {"ad_id": "token", **{f"ad_{name}": "token_seq" for name in _OF_ADS}}
    written += write_atomic(folder / f"{_NAME}.item", described, types)
    return Counts(
        raw_rows=rows.raw,
        rows=rows.kept,
        positive=positive,
        users=len(rows.distinct["user_id"].numbers()),
        items=len(ads),
        notes=(*remarks, *written),
    )


def is_sampled(users: np.ndarray) -> np.ndarray:
    """Which users are kept: those whose hash is below 2**64 / 10.

    The hash is the first number of SplitMix64 with the id as seed, so it is the same on every machine. User 0,
    which stands for all unknown users, is not kept.

    Args:
        users: Ids, ``(rows,)`` uint64.

    Returns:
        ``(rows,)`` bool.
    """
    mixed = users + np.uint64(0x9E3779B97F4A7C15)  # modulo 2 ** 64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) < np.uint64((1 << 64) // _SHARE)


class _Rows:
    """The rows of the kept users, on disk, with the distinct values of their columns in memory.

    Args:
        raw: The publisher's files.
        path: Where to store the rows.

    Raises:
        DataError: A line is not as published, or no user is kept.
    """

    def __init__(self, raw: RawFiles, path: Path) -> None:
        self.distinct = {name: DistinctRows(name) for name in ("user_id", *(f"{text}_id" for text in _TEXTS))}
        self.ads = DistinctRows("ad_id", *(f"{text}_id" for text in _OF_ADS))
        self.raw = self.kept = self._unknown = self._impressions = self._clicks = self._odd = 0
        self._spool = Spool(path)
        for frame, _ in read_number_lines(raw, _ROWS, dict.fromkeys(_COLUMNS, NUMBER)):
            self.raw += len(frame)
            self._unknown += int((frame["user_id"] == 0).sum())
            kept = frame.filter(pl.Series(is_sampled(frame["user_id"].to_numpy())))
            if len(kept):
                self._add(kept)
        self._spool.finish()
        if not self.kept:
            raise DataError(
                f"{_ROWS}: none of the users of its {self.raw} rows is among the tenth that is kept (by a hash of "
                "the user id); is this the complete file?"
            )

    def _add(self, kept: pl.DataFrame) -> None:
        self._spool.append(kept)
        self.kept += len(kept)
        self._impressions += int(kept["impressions"].sum())
        self._clicks += int(kept["clicks"].sum())
        self._odd += int((kept["clicks"] > kept["impressions"]).sum())
        for part in (*self.distinct.values(), self.ads):
            part.add(kept)

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows in the order of the file."""
        return self._spool.frames(_COLUMNS)

    def notes(self) -> list[str]:
        """What a row is, and which users were chosen."""
        notes = [
            "items are ads (ad_id); a row is a line of training.txt, with label 1 if it has at least one click",
            f"the {self.kept:,} rows stand for {self._impressions:,} impressions with {self._clicks:,} clicks; "
            "the columns num_impressions and num_clicks have those of each row",
            f"one user in {_SHARE} is kept, by a hash of the user id; which users the paper drew is not "
            f"published. User 0 (unknown, {self._unknown:,} raw rows) is not among them",
        ]
        if self._odd:
            notes.append(f"{self._odd:,} rows have more clicks than impressions and are kept unchanged")
        return notes


class _Texts:
    """The texts of the wanted ids of one file of tokens, as numbers separated by blanks.

    Args:
        raw: The publisher's files.
        file: Name of the file.
        wanted: Ids, ascending.
        name: What the ids stand for, for notes.

    Attributes:
        notes: What is odd about the file, a sentence each.
    """

    def __init__(self, raw: RawFiles, file: str, wanted: np.ndarray, name: str) -> None:
        self._ids = wanted
        columns = {"id": NUMBER, "text": LIST}
        found, self.notes = _first_of_each(raw, file, columns, wanted, f"{name} ids")
        self._texts = found["text"].str.replace_all("|", " ", literal=True)

    def __call__(self, ids: pl.Series) -> pl.Series:
        """The text of each id, None if it has none; every id must be a wanted one."""
        return self._texts.gather(np.searchsorted(self._ids, ids.to_numpy()))


def _first_of_each(
    raw: RawFiles, file: str, columns: dict[str, str], wanted: np.ndarray, what: str
) -> tuple[pl.DataFrame, list[str]]:
    """The line of each wanted id, the values of the first column, in the order of ``wanted``; and notes."""
    key, found = next(iter(columns)), []
    for frame, _ in read_number_lines(raw, file, columns):
        ids = frame[key].to_numpy()
        place = np.searchsorted(wanted, ids)
        found.append(frame.filter(pl.Series(wanted[np.minimum(place, len(wanted) - 1)] == ids)))
    lines = pl.concat(found)
    first = lines.unique(key, keep="first", maintain_order=True)
    joined = pl.DataFrame({key: wanted}).join(first, on=key, how="left", maintain_order="left")
    notes = []
    if repeated := len(lines) - len(first):
        notes.append(f"{file} has {repeated:,} more lines for {what} that it has already; the first line counts")
    if lacking := len(wanted) - len(first):
        unknown = wanted[~np.isin(wanted, first[key].to_numpy())][0]
        notes.append(
            f"{lacking:,} of {len(wanted):,} {what} are not in {file}, the first of them {unknown}: their values "
            "are missing"
        )
    return joined, notes


def _write_users(raw: RawFiles, wanted: np.ndarray, folder: Path) -> Sequence[str]:
    users, notes = _first_of_each(raw, _PROFILES, dict.fromkeys(_PROFILE, NUMBER), wanted, "users")
    return [*notes, *write_atomic(folder / f"{_NAME}.user", users, dict.fromkeys(_PROFILE, "token"))]


def _write_rows(rows: _Rows, texts: dict[str, _Texts], folder: Path) -> tuple[int, list[str]]:
    """Writes the interactions; returns the number of positive ones, and notes."""
    positive = 0
    with AtomicWriter(folder / f"{_NAME}.inter", _INTER) as writer:
        for frame in rows.frames():
            clicked = frame["clicks"] > 0
            positive += int(clicked.sum())
            writer.write(
                frame.with_columns(
                    clicked.cast(pl.Int8).alias("click"),
                    *(text(frame[f"{name}_id"]).alias(name) for name, text in texts.items()),
                ).rename({"impressions": "num_impressions", "clicks": "num_clicks"})
            )
    return positive, writer.notes()

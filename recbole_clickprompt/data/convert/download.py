"""Fetches a publisher's file: goes on where it stopped, and takes its name only when it is whole."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from recbole_clickprompt.errors import DataError

__all__ = ["RemoteFile", "fetch"]

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        url: Where it is.
        md5: What its publisher says of it, or None: then its rows are counted when it is read.
    """

    url: str
    md5: str | None = None

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


def fetch(file: RemoteFile, folder: Path, *, show_progress: bool = True) -> Path:
    """Fetches ``file`` into ``folder``, where a finished one is reused and a begun one (``NAME.part``) continued.

    Raises:
        DataError: No connection, no such file, the connection broke, or it is not the publisher's file. What came
            so far is kept as ``NAME.part``, unless it is wrong.
    """
    target, part = folder / file.name, folder / f"{file.name}.part"
    if target.is_file():
        _verify(file, target)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    try:
        size = _append(file.url, part, show_progress)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise DataError(f"cannot download {file.url}: {reason}") from error
    if size is not None and part.stat().st_size != size:
        if part.stat().st_size > size:
            part.unlink()
        raise DataError(f"cannot download {file.url}: the connection broke; the same command goes on from there")
    _verify(file, part)
    part.rename(target)
    return target


def _append(url: str, part: Path, show_progress: bool) -> int | None:
    """Adds what is missing to ``part``; returns the size of the whole, where the server tells it."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if error.code == 416 and have and total in ("", "*", str(have)):
            return have  # there is nothing behind what we have
        if error.code == 416 and have:
            part.unlink()
            return _append(url, part, show_progress)
        raise
    with answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        start = have if resumed else 0  # a server that knows no ranges begins anew
        size = start + int(length) if length is not None else None
        bar = tqdm(
            total=size,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=part.stem,
            disable=None if show_progress else True,
        )
        with part.open("ab" if resumed else "wb") as stream, bar:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
    return size


def _verify(file: RemoteFile, path: Path) -> None:
    if file.md5 is None:
        return
    found = _md5(path)
    if found != file.md5:
        path.unlink()
        raise DataError(
            f"{file.url} is not what its publisher says: md5 {found} where {file.md5} is expected; it has been "
            "removed, try again"
        )


def _md5(path: Path) -> str:
    digest = hashlib.md5()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

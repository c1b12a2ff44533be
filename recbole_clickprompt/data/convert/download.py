"""Downloads a publisher's file: resumes a partial download, and renames the file once it is complete."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tqdm import tqdm

from recbole_clickprompt.errors import DataError

__all__ = ["RemoteFile", "fetch", "remote_size"]

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte
_SLOWEST = 1 << 10  # bytes a second, after the first minute
_PATIENCE = 60
_MAGIC = {".zip": b"PK", ".gz": b"\x1f\x8b"}


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: Its address.
        md5: The published checksum; None if there is none, and its rows are counted when it is read.
        most_bytes: An upper bound of its size.
    """

    url: str
    md5: str | None = None
    most_bytes: int = 1 << 30

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


def fetch(file: RemoteFile, folder: Path, *, show_progress: bool = True) -> Path:
    """Downloads ``file`` into ``folder``; a complete one is reused, and a partial one (``NAME.part``) resumed.

    Raises:
        DataError: There is no connection or no such file, the connection broke or is too slow, or it is not the
            publisher's file. A partial download is kept as ``NAME.part``, unless it is wrong.
    """
    target, part = folder / file.name, folder / f"{file.name}.part"
    if target.is_file():
        _verify(file, target)
        return target
    try:
        size = _append(file, part, show_progress)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise DataError(f"cannot download {file.url}: {reason or type(error).__name__}") from error
    if size is not None and part.stat().st_size != size:
        raise DataError(f"cannot download {file.url}: the connection broke; the same command resumes it")
    _verify(file, part)
    part.rename(target)
    return target


def remote_size(url: str) -> int | None:
    """Size of a remote file in bytes; None if its server does not report it.

    Raises:
        OSError: There is no answer, or no such file.
        DataError: The server reports an invalid size.
    """
    with _open(urllib.request.Request(url)) as answer:
        return _length(url, answer)


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects without reading their body; urllib would read an endless one into memory."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> object:
        fp.close()  # a closed answer reads as empty
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    opener = urllib.request.OpenerDirector()
    # Without the FTP handler, to which a server could redirect; redirects to http and https only
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.FileHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirect(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return cast(http.client.HTTPResponse, opener.open(request, timeout=_TIMEOUT))


def _append(file: RemoteFile, part: Path, show_progress: bool) -> int | None:
    """Downloads the missing bytes to ``part``; returns the total size if the server reports it."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = _open(request)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            raise
        if (error.headers.get("Content-Range") or "").rpartition("/")[2] == str(have):
            return have  # nothing is missing
        part.unlink()
        return _append(file, part, show_progress)
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise DataError(f"cannot download {file.url}: its server sends a web page instead")
        length, start = _length(file.url, answer), 0
        if answer.status == 206:
            if not _continues(answer.headers.get("Content-Range"), have, file):
                if not have:
                    raise DataError(f"cannot download {file.url}: its server sends a part that was not asked for")
                part.unlink()
                return _append(file, part, show_progress)
            start = have
        size = None if length is None else start + length
        if size is not None and size > file.most_bytes:
            raise _too_long(file, size)
        _write(file, _pieces(file, answer, length), part, start, size, show_progress)
    return size


def _length(url: str, answer: http.client.HTTPResponse) -> int | None:
    length = answer.headers.get("Content-Length")
    if length is not None and not re.fullmatch(r"[0-9]{1,18}", length):
        raise DataError(f"cannot download {url}: its server says that it has {length[:40]!r} bytes")
    return None if length is None else int(length)


def _continues(content_range: str | None, have: int, file: RemoteFile) -> bool:
    """Whether the answer is the rest of the file; if the server does not say, the md5 sum decides later."""
    if content_range is None:
        return have > 0 and file.md5 is not None
    given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", content_range)
    return given is not None and int(given[1]) == have > 0 and given[3] in ("*", str(int(given[2]) + 1))


def _pieces(file: RemoteFile, answer: http.client.HTTPResponse, length: int | None) -> Iterator[bytes]:
    """The body in pieces, up to the length that the server reported."""
    began, got = time.monotonic(), 0
    while length is None or got < length:
        piece = answer.read1(_CHUNK if length is None else min(_CHUNK, length - got))
        if not piece:
            return
        got += len(piece)
        yield piece
        if time.monotonic() - began > _PATIENCE + got / _SLOWEST:
            raise DataError(
                f"cannot download {file.url}: less than {_SLOWEST} bytes come in a second; the same command "
                "resumes it"
            )


def _write(
    file: RemoteFile, pieces: Iterator[bytes], part: Path, start: int, size: int | None, show_progress: bool
) -> None:
    bar = tqdm(
        total=size,
        initial=start,
        unit="B",
        unit_scale=True,
        desc=part.stem,
        disable=None if show_progress else True,
    )
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab" if start else "wb") as stream, bar:
        for piece in pieces:
            stream.write(piece)
            bar.update(len(piece))
            if stream.tell() > file.most_bytes:
                part.unlink()
                raise _too_long(file, stream.tell())


def _too_long(file: RemoteFile, size: int) -> DataError:
    return DataError(
        f"cannot download {file.url}: it has {size} bytes or more, where {file.most_bytes} are the most"
    )


def _verify(file: RemoteFile, path: Path) -> None:
    with path.open("rb") as stream:
        begin = stream.read(512)
    wrong = None
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|!--|head)", begin, re.IGNORECASE):
        wrong = "is a web page"
    elif file.md5 is not None:
        found = _md5(path)
        wrong = (
            None
            if found == file.md5
            else f"is not what its publisher says: md5 {found} where {file.md5} is expected"
        )
    elif not begin.startswith(_MAGIC.get(Path(file.name).suffix, b"")):
        wrong = f"is not a {Path(file.name).suffix[1:]} file"
    if wrong:
        path.unlink()
        raise DataError(f"{file.url} {wrong}; it has been removed, try again")


def _md5(path: Path) -> str:
    digest = hashlib.md5()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

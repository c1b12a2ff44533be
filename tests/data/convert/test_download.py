"""Downloads from a server on this machine: resumed, verified, never half a file."""

import hashlib
import re

import pytest

from recbole_clickprompt.data.convert.download import RemoteFile, fetch
from recbole_clickprompt.errors import DataError
from tests.server import QuietHandler, serve

CONTENT = bytes(range(256)) * 4096
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(QuietHandler):
    """Serves ``CONTENT``, by ranges where it is asked to, and breaks off where the address says so."""

    def do_GET(self):
        self.server.requests.append(self.headers.get("Range"))
        if "missing" in self.path:
            return self.send_error(404)
        given = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(given[1]) if given and "no-ranges" not in self.path else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = len(CONTENT) // 2 if "breaks" in self.path and len(self.server.requests) == 1 else len(CONTENT)
        return self.wfile.write(CONTENT[start:stop])


@pytest.fixture
def server():
    with serve(Handler) as running:
        yield running


def get(server, name, folder, md5=MD5):
    return fetch(RemoteFile(f"{server.url}/{name}", md5), folder, show_progress=False)


def test_a_file_is_fetched_whole_and_only_once(server, tmp_path):
    path = get(server, "a.zip", tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert get(server, "a.zip", path.parent) == path
    assert len(server.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("name", ["breaks.zip", "breaks-no-ranges.zip"])
def test_a_broken_download_is_never_taken_for_a_file_and_goes_on_from_where_it_was(server, tmp_path, name):
    with pytest.raises(DataError, match=f"cannot download .*{name}: .*broke; the same command resumes"):
        get(server, name, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.part"]
    assert get(server, name, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_part_that_is_already_whole_needs_no_more(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    assert get(server, "a.zip", tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_fetched_anew(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    assert get(server, "a.zip", tmp_path).read_bytes() == CONTENT


def test_a_file_of_another_sum_is_removed(server, tmp_path):
    with pytest.raises(DataError, match=f"md5 {MD5} where 0000 is expected; it has been removed"):
        get(server, "a.zip", tmp_path, "0000")
    assert list(tmp_path.iterdir()) == []


def test_no_file_and_no_server_are_told(server, tmp_path):
    with pytest.raises(DataError, match="cannot download .*missing.zip: .*Not Found"):
        get(server, "missing.zip", tmp_path)
    with pytest.raises(DataError, match="cannot download http://127.0.0.1:1/a.zip: .*refused"):
        fetch(RemoteFile("http://127.0.0.1:1/a.zip"), tmp_path, show_progress=False)
    assert list(tmp_path.iterdir()) == []

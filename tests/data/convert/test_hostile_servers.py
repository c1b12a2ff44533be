"""Servers that answer with something else than the file: one line, and nothing under the file's name."""

import gzip
import re
import threading

import pytest

from recbole_clickprompt.data.convert import download
from recbole_clickprompt.data.convert.download import RemoteFile, fetch
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.dataset_files import obtain
from tests.server import QuietHandler, serve

CONTENT = gzip.compress(bytes(range(256)), mtime=0) + bytes(1000)
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class Handler(QuietHandler):
    """Answers as the test says: a status, headers, and pieces of a body."""

    def do_GET(self):
        self.server.requests.append(self.headers.get("Range"))
        status, headers, pieces = self.server.answers[min(len(self.server.requests), len(self.server.answers)) - 1]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for piece in pieces:
                self.wfile.write(piece)
        except OSError:
            pass  # the client has gone


@pytest.fixture
def server():
    with serve(Handler) as running:
        yield running


def get(server, folder, *answers, name="a.json.gz", **settings):
    server.answers = answers
    return fetch(RemoteFile(f"{server.url}/{name}", **settings), folder, show_progress=False)


def whole(content=CONTENT, **headers):
    return 200, {"Content-Length": str(len(content)), **headers}, [content]


def endless():
    while True:
        yield CONTENT


@pytest.mark.parametrize("length", ["abc", "-5", "1e9", "", "9" * 30, "0x10", "1_000", "+7"])
def test_a_length_that_is_no_number_is_refused(server, tmp_path, length):
    message = re.escape(f"cannot download {server.url}/a.json.gz: its server says that it has '{length}' bytes")
    with pytest.raises(DataError, match=message):
        get(server, tmp_path, (200, {"Content-Length": length}, [CONTENT]))
    assert list(tmp_path.iterdir()) == []


def test_a_body_without_a_length_is_read_to_its_end(server, tmp_path):
    assert get(server, tmp_path, (200, {}, [CONTENT])).read_bytes() == CONTENT


def test_an_endless_body_is_cut_at_the_most_that_a_file_may_have_and_removed(server, tmp_path):
    with pytest.raises(DataError, match=r"it has \d+ bytes or more, where 50000 are the most"):
        get(server, tmp_path, (200, {}, endless()), most_bytes=50_000)
    assert list(tmp_path.iterdir()) == []


def test_a_length_beyond_the_most_is_refused_before_anything_is_written(server, tmp_path):
    with pytest.raises(DataError, match="it has 1000000000000 bytes or more, where 1073741824 are the most"):
        get(server, tmp_path / "new", (200, {"Content-Length": "1000000000000"}, endless()))
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_taken_than_the_server_told(server, tmp_path):
    length = {"Content-Length": str(len(CONTENT))}
    assert get(server, tmp_path, (200, length, [CONTENT, b"more"])).read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["a.zip", "a.json.gz"])
@pytest.mark.parametrize(
    "answer",
    [
        whole(PAGE, **{"Content-Type": "text/html; charset=utf-8"}),
        whole(PAGE),
        whole(b"\xef\xbb\xbf\n  <HTML><head>"),
        whole(b"<?xml version='1.0'?><Error>AccessDenied</Error>"),
        whole(b'{"error": "log in"}'),
        whole(b""),
    ],
)
def test_what_is_not_the_archive_never_gets_its_name(server, tmp_path, name, answer):
    with pytest.raises(
        DataError, match="sends a web page|is a web page|is not a (zip|gz) file; it has been removed"
    ):
        get(server, tmp_path, answer, name=name)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_was_saved_under_the_archives_name_is_removed(server, tmp_path):
    (tmp_path / "a.json.gz").write_bytes(PAGE)
    with pytest.raises(DataError, match="is a web page; it has been removed, try again"):
        get(server, tmp_path, whole())
    assert get(server, tmp_path, whole()).read_bytes() == CONTENT


@pytest.mark.parametrize("scheme", ["file:///etc/passwd", "ftp://127.0.0.1/a.json.gz", "gopher://127.0.0.1/a"])
def test_a_server_that_sends_us_on_to_another_scheme_is_not_followed(server, tmp_path, scheme):
    with pytest.raises(DataError, match="cannot download .*(not allowed|unknown url type)"):
        get(server, tmp_path, (302, {"Location": scheme}, []))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_sends_us_on_to_http_is_followed(server, tmp_path):
    assert get(server, tmp_path, (302, {"Location": "/b.json.gz"}, []), whole()).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_body_of_a_redirect_is_not_read(server, tmp_path, status):
    sent = []

    def long():  # 64 MB: far more than lies in the buffers between
        for _ in range(1000):
            sent.append(1)
            yield bytes(64_000)

    assert get(server, tmp_path, (status, {"Location": "/b.json.gz"}, long()), whole()).read_bytes() == CONTENT
    assert len(sent) < 1000


def test_a_circle_of_redirects_ends(server, tmp_path):
    with pytest.raises(DataError, match="cannot download .*redirect"):
        get(server, tmp_path, (302, {"Location": "/a.json.gz"}, []))


def part_of(start, text, content=CONTENT):
    return 206, {"Content-Length": str(len(content) - start), "Content-Range": text}, [content[start:]]


def test_a_part_is_continued_where_the_server_says_that_it_continues(server, tmp_path):
    (tmp_path / "a.json.gz.part").write_bytes(CONTENT[:100])
    end = len(CONTENT)
    assert get(server, tmp_path, part_of(100, f"bytes 100-{end - 1}/{end}")).read_bytes() == CONTENT
    assert server.requests == ["bytes=100-"]


@pytest.mark.parametrize("text", ["bytes 50-{last}/{end}", "bytes 100-200/{end}", "items 1-2/3", "bytes */*", ""])
def test_a_part_with_other_bytes_than_asked_for_is_dropped_and_all_is_fetched(server, tmp_path, text):
    (tmp_path / "a.json.gz.part").write_bytes(CONTENT[:100])
    given = text.format(last=len(CONTENT) - 1, end=len(CONTENT))
    assert get(server, tmp_path, part_of(50, given), whole()).read_bytes() == CONTENT
    assert server.requests == ["bytes=100-", None]


def test_a_part_that_nobody_asked_for_is_refused(server, tmp_path):
    with pytest.raises(DataError, match="its server sends a part that was not asked for"):
        get(server, tmp_path, part_of(50, f"bytes 50-{len(CONTENT) - 1}/{len(CONTENT)}"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("headers", [{}, {"Content-Range": "bytes */*"}, {"Content-Range": "bytes */7"}])
def test_a_server_that_never_has_a_range_is_asked_twice_at_most(server, tmp_path, headers):
    (tmp_path / "a.json.gz.part").write_bytes(CONTENT[:100])
    with pytest.raises(DataError, match="cannot download .*Requested Range Not Satisfiable"):
        get(server, tmp_path, (416, headers, []))
    assert server.requests == ["bytes=100-", None]


def test_a_body_that_trickles_is_given_up_and_kept(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_PATIENCE", 0.05)
    monkeypatch.setattr(download, "_SLOWEST", 10**9)
    pause = threading.Event()

    def trickle():
        for byte in CONTENT:
            pause.wait(0.02)
            yield bytes([byte])

    with pytest.raises(DataError, match="less than 1000000000 bytes come in a second; the same command resumes"):
        get(server, tmp_path, (200, {"Content-Length": str(len(CONTENT))}, trickle()))
    (part,) = tmp_path.iterdir()
    assert CONTENT.startswith(part.read_bytes())


def test_a_body_that_breaks_off_is_kept_as_a_part(server, tmp_path):
    with pytest.raises(DataError, match="the connection broke; the same command resumes it"):
        get(server, tmp_path, (200, {"Content-Length": str(len(CONTENT))}, [CONTENT[:100]]))
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.json.gz.part", CONTENT[:100])]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (whole(PAGE, **{"Content-Type": "text/html"}), "its server sends a web page"),
        (whole(b"nothing"), "is not a zip file"),
        ((200, {"Content-Length": "abc"}, []), "its server says that it has 'abc' bytes"),
        ((404, {}, []), "Not Found"),
    ],
)
def test_what_recbole_downloads_is_held_to_the_same(server, tmp_path, answer, message):
    from recbole.data.dataset import dataset as host

    folder, before = tmp_path / "shop", host.download_url
    server.answers = [answer]

    def download():
        url = f"{server.url}/shop.zip"
        if host.decide_download(url):
            host.makedirs(str(folder))
            host.extract_zip(host.download_url(url, str(folder)), str(folder))

    with pytest.raises(DataError, match=f"RecBole cannot download shop .*{message}"):
        obtain("shop", folder, download)
    assert list(tmp_path.iterdir()) == []
    assert host.download_url is before

"""Archives and folders are read in place, and refused where they are cut off, damaged or lead outside."""

import gzip
import io
import tarfile
import zipfile

import pytest

from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.errors import DataError

CONTENT = b"1::a\n2::b\n" * 5000


def zipped(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path, name="ml-1m/x.dat", content=CONTENT, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:xz") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.size, entry.linkname = kind, len(content), "/etc/passwd"
        archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(params=["zip", "tar", "folder", "gz", "beside"])
def source(request, tmp_path):
    """``x.dat`` in each form that a publisher offers."""
    (tmp_path / "deep").mkdir()
    if request.param == "zip":
        return zipped(tmp_path / "a.zip", **{"ml-1m/x.dat": CONTENT})
    if request.param == "tar":
        return tarred(tmp_path / "a.tar.xz")
    if request.param == "gz":
        (tmp_path / "deep" / "x.dat.gz").write_bytes(gzip.compress(CONTENT))
        return tmp_path
    (tmp_path / "deep" / "x.dat").write_bytes(CONTENT)
    return tmp_path if request.param == "folder" else tmp_path / "deep" / "x.dat"


def test_a_file_is_found_by_name_wherever_it_lies(source):
    raw = RawFiles(source)
    assert raw.read("y.dat", "x.dat") == CONTENT
    assert raw.find("y.dat") is None


def test_blocks_are_whole_lines(source):
    blocks = list(RawFiles(source).blocks("x.dat", size=999))
    assert b"".join(blocks) == CONTENT
    assert len(blocks) > 40
    assert all(block.endswith(b"\n") for block in blocks)


def test_a_last_line_without_its_end_is_read(tmp_path):
    (tmp_path / "x").write_bytes(b"a\nb")
    assert list(RawFiles(tmp_path).blocks("x", size=2)) == [b"a\n", b"b"]


def test_a_missing_file_is_told_with_those_that_are_there(tmp_path):
    with pytest.raises(DataError, match=r"a.zip holds no ratings.dat or r.csv; it holds x.dat"):
        RawFiles(zipped(tmp_path / "a.zip", **{"x.dat": b"a"})).read("ratings.dat", "r.csv")
    with pytest.raises(DataError, match="there is no file or folder .*nowhere"):
        RawFiles(tmp_path / "nowhere")


@pytest.mark.parametrize("form", ["a.zip", "a.tar.xz", "x.dat.gz"])
@pytest.mark.parametrize("keep", [0.3, 0.97])
def test_a_truncated_archive_is_refused(tmp_path, form, keep):
    path = tmp_path / form
    make = {"a.zip": lambda: zipped(path, **{"x.dat": CONTENT}), "a.tar.xz": lambda: tarred(path)}
    make.get(form, lambda: path.write_bytes(gzip.compress(CONTENT)))()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=f"{form} is cut off or damaged .*fetch it again"):
        RawFiles(path).read("x.dat")


def test_a_zip_with_wrong_bytes_inside_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.dat", CONTENT)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.zip is cut off or damaged .*CRC"):
        RawFiles(path).read("x.dat")


@pytest.mark.parametrize("name", ["../../x.dat", "/etc/x.dat", "a/../../x.dat", "..\\x.dat", "C:\\x.dat"])
def test_a_path_that_leads_outside_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="leads outside the archive"):
        RawFiles(zipped(tmp_path / "a.zip", **{name: b"a"}))
    with pytest.raises(DataError, match="leads outside the archive"):
        RawFiles(tarred(tmp_path / "a.tar.xz", name))


def test_a_link_in_a_tar_is_refused(tmp_path):
    with pytest.raises(DataError, match="is a link"):
        RawFiles(tarred(tmp_path / "a.tar.xz", content=b"", kind=tarfile.SYMTYPE))


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(DataError, match="x is empty"):
        RawFiles(tmp_path).read("x")
    with pytest.raises(DataError, match="x is empty"):
        list(RawFiles(tmp_path).blocks("x"))

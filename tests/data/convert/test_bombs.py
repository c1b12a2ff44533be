"""Archives that unpack to far more than data does, or cannot be read, end in one line and a bounded memory."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.data.convert import archives, raw, unpacking
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.data.convert.unpacking import read_file
from recbole_clickprompt.errors import DataError

MIB = 1 << 20
ZEROS = bytes(MIB)
LINES = b"".join(b"user %d liked item %d on day %d\n" % (n * 7919 % 99991, n * 31 % 1009, n) for n in range(10**5))


def zipped(path, name="ratings.dat", size=64, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method, compresslevel=9) as archive, archive.open(name, "w") as member:
        for _ in range(size):
            member.write(ZEROS)
    return path


def tarred(path, entries, mode="w"):
    with tarfile.open(path, mode) as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def tar_of_zeros(path, compress):
    """A tar archive of 64 MiB, compressed piece by piece."""
    header = tarfile.TarInfo("ratings.dat")
    header.size = 64 * MIB
    path.write_bytes(compress(header.tobuf()) + 64 * compress(ZEROS) + compress(bytes(1024)))
    return path


def gz_in_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.dat.gz", 64 * gzip.compress(ZEROS))
    return path


def gz_in_tar(path):
    return tarred(path, [(tarfile.TarInfo("ratings.dat.gz"), 64 * gzip.compress(ZEROS))], "w:gz")


def folder_with_gz(path):
    path.mkdir()
    (path / "ratings.dat.gz").write_bytes(64 * gzip.compress(ZEROS))
    return path


def long_name(path):
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 64 * MIB
    path.write_bytes(gzip.compress(entry.tobuf()) + 64 * gzip.compress(ZEROS))
    return path


def many_in_zip(path):
    """Members share one compressed content: each is small, and all together are far more than the archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(15 * MIB))
        for n in range(500):
            archive.filelist.append(zipfile.ZipInfo(f"x{n}"))
            for name in ("compress_type", "compress_size", "file_size", "CRC", "header_offset"):
                setattr(archive.filelist[-1], name, getattr(archive.filelist[0], name))
        archive._didModify = True
    return path


BOMBS = {
    "zip": lambda p: zipped(p / "a.zip"),
    "zip by bzip2": lambda p: zipped(p / "a.zip", method=zipfile.ZIP_BZIP2),
    "zip by lzma": lambda p: zipped(p / "a.zip", method=zipfile.ZIP_LZMA),
    "overlapping zip": lambda p: many_in_zip(p / "a.zip"),
    "gz in zip": lambda p: gz_in_zip(p / "a.zip"),
    "tar.gz": lambda p: tar_of_zeros(p / "a.tar.gz", gzip.compress),
    "tar.xz": lambda p: tar_of_zeros(p / "a.tar.xz", lambda content: lzma.compress(content, preset=0)),
    "tar.bz2": lambda p: tar_of_zeros(p / "a.tar.bz2", bz2.compress),
    "gz in tar": lambda p: gz_in_tar(p / "a.tar.gz"),
    "gz in a folder": lambda p: folder_with_gz(p / "a"),
}


@pytest.fixture
def peak():
    """The most bytes that were held at once since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("kind", BOMBS)
def test_what_unpacks_to_hundreds_of_times_as_much_is_refused_before_it_fills_the_memory(tmp_path, peak, kind):
    path = BOMBS[kind](tmp_path)
    tracemalloc.reset_peak()
    with pytest.raises(
        DataError, match="bytes unpack to .* over 200 times as many; that is no table of data"
    ) as told:
        RawFiles(path).read("ratings.dat")
    assert "\n" not in str(told.value)
    assert peak() < 48 * MIB


def test_a_long_name_in_a_tar_is_not_read_into_memory(tmp_path, peak):
    path = long_name(tmp_path / "a.tar.gz")
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match=r"a.tar.gz is cut off or damaged \(a header of 67108864 bytes\)"):
        RawFiles(path)
    assert peak() < 8 * MIB


def test_a_bomb_leaves_no_folder_behind_and_is_told_with_code_2(tmp_path, capsys):
    path = zipped(tmp_path / "ml-1m.zip")
    assert main(["prepare", "ml-1m", "--raw", str(path), "--out", str(tmp_path / "out")]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "ml-1m.zip: " in error
    assert "over 200 times as many; that is no table of data" in error
    assert list((tmp_path / "out").glob("*")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"u,i,l\n" * (MIB // 6), "over 200 times as many"), (b"u" * MIB, "a line of more than 16,777,216 bytes")],
)
def test_a_table_that_unpacks_to_far_too_much_is_refused(tmp_path, capsys, content, message):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(64 * gzip.compress(content))
    table = ["from-table", str(path), "--user", "u", "--item", "i", "--label", "l", "--name", "n"]
    assert main([*table, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("form", ["a.zip", "a.tar.gz", "x.gz"])
def test_data_that_compresses_as_data_does_is_read(tmp_path, monkeypatch, form):
    monkeypatch.setattr(unpacking, "_FREE", 1 << 18)
    path = tmp_path / form
    if form == "a.zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x", LINES)
    elif form == "a.tar.gz":
        tarred(path, [(tarfile.TarInfo("x"), LINES)], "w:gz")
    else:
        path.write_bytes(gzip.compress(LINES))
        assert read_file(path) == LINES
    assert len(LINES) > 10 * unpacking._FREE
    assert RawFiles(path).read("x") == LINES
    assert b"".join(RawFiles(path).blocks("x", size=1 << 18)) == LINES


def test_more_than_the_memory_should_hold_is_refused_unless_it_is_not_compressed(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "_MOST_BYTES", 1000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(DataError, match="x.gz unpacks to more than 1000 bytes; unpack it, and give the unpacked"):
        RawFiles(tmp_path).read("x")
    (tmp_path / "x").write_bytes(bytes(1001))
    assert len(RawFiles(tmp_path).read("x")) == 1001


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "_LONGEST_LINE", 100)
    (tmp_path / "x").write_bytes(b"a\n" + bytes(200))
    with pytest.raises(DataError, match="x holds a line of more than 100 bytes"):
        list(RawFiles(tmp_path).blocks("x", size=50))


def patched(path, at_local, at_central, value):
    """A zip archive with another two-byte number in the local and the central header of its one member."""
    zipped(path, size=1)
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\3\4") + at_local, value)
    struct.pack_into("<H", content, content.index(b"PK\1\2") + at_central, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("at_local", "at_central", "value", "message"),
    [
        (6, 8, 1, "'ratings.dat' cannot be read: .*encrypted.*; unpack it yourself and give the folder"),
        (6, 8, 0x41, "'ratings.dat' cannot be read: .*; unpack it yourself"),
        (8, 10, 99, "'ratings.dat' cannot be read: .*compression method.*; unpack it yourself"),
        (8, 10, 97, "'ratings.dat' cannot be read: .*compression method"),
        (8, 10, 9, "'ratings.dat' cannot be read: .*compression method"),
        (4, 6, 250, "a.zip is cut off or damaged .*zip file version 25"),
    ],
)
def test_a_zip_that_cannot_be_read_is_told_in_one_line(tmp_path, at_local, at_central, value, message):
    with pytest.raises(DataError, match=message):
        RawFiles(patched(tmp_path / "a.zip", at_local, at_central, value)).read("ratings.dat")


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", size=8)
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\1\2") + 24, 1000)
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.zip is cut off or damaged .*CRC"):
        RawFiles(path).read("ratings.dat")
    struct.pack_into("<LL", content, content.index(b"PK\1\2") + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    path.write_bytes(content)
    with pytest.raises(DataError, match="over 200 times as many|cut off or damaged"):
        RawFiles(path).read("ratings.dat")


@pytest.mark.parametrize(
    "kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE]
)
def test_what_is_no_plain_file_in_a_tar_is_refused(tmp_path, kind):
    entry = tarfile.TarInfo("ratings.dat")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(
        DataError, match="'ratings.dat' is (a link|no plain file); an archive of data holds only files"
    ):
        RawFiles(tarred(tmp_path / "a.tar", [(entry, b"")]))


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("ratings.dat")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match="'ratings.dat' is a link"):
        RawFiles(tmp_path / "a.zip")


@pytest.mark.parametrize("names", [("x", "x"), ("a/x", "b/x")])
@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_more_than_once_is_refused_where_it_is_read(tmp_path, form, names):
    path = tmp_path / f"a.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in (*names, "y"):
                archive.writestr(name, name)
    else:
        tarred(path, [(tarfile.TarInfo(name), name.encode()) for name in (*names, "y")])
    with pytest.raises(DataError, match=f"holds x more than once: {names[0]} and {names[1]}"):
        RawFiles(path).read("x")
    assert RawFiles(path).read("y") == b"y"


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_far_too_many_members_are_refused(tmp_path, monkeypatch, form):
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 20)
    path = tmp_path / f"a.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for n in range(21):
                archive.writestr(str(n), b"")
    else:
        tarred(path, [(tarfile.TarInfo(str(n)), b"") for n in range(21)], "w:gz")
    with pytest.raises(DataError, match="holds more than 20 files"):
        RawFiles(path)


def test_headers_that_follow_headers_without_an_end_are_refused(tmp_path):
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(3000 * (entry.tobuf() + b"x\0" + bytes(510))))
    began = time.perf_counter()
    with pytest.raises(DataError, match="a.tar.gz is cut off or damaged"):
        RawFiles(path)
    assert time.perf_counter() - began < 5


def test_a_tar_under_another_compressions_name_is_read(tmp_path):
    path = tarred(tmp_path / "a.tar", [(tarfile.TarInfo("x"), b"abc")])
    (tmp_path / "b.tar.xz").write_bytes(gzip.compress(path.read_bytes()))
    assert RawFiles(tmp_path / "b.tar.xz").read("x") == b"abc"


def test_the_check_sum_of_a_gzip_file_is_read(tmp_path):
    content = bytearray(gzip.compress(LINES))
    content[-8:-4] = struct.pack("<L", zlib.crc32(b"other"))
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(DataError, match="x.gz is cut off or damaged .*CRC"):
        RawFiles(tmp_path).read("x")

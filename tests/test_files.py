"""Locks and unfinished files of several processes; for ``write_whole`` see also trainer/test_checkpoint.py."""

import errno
import fcntl
import multiprocessing
import os
from pathlib import Path

import pyarrow as pa
import pytest

from recbole_clickprompt import files
from recbole_clickprompt.errors import StorageError
from recbole_clickprompt.files import locked, new_folder, partial_path, remove_leftovers, write_whole
from recbole_clickprompt.serving.files import ScoreFile


def count_up():
    for _ in range(200):
        with locked(Path("count")):
            Path("count").write_text(str(int(Path("count").read_text()) + 1))


def in_processes(*works):
    processes = [multiprocessing.get_context("fork").Process(target=work) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_a_lock_is_held_by_one_process_at_a_time_and_leaves_no_file():
    Path("count").write_text("0")
    Path("count.lock").touch()  # of a process that was killed
    assert in_processes(count_up, count_up, count_up) == [0, 0, 0]
    assert Path("count").read_text() == "600"
    assert os.listdir() == ["count"]


def test_a_lock_is_given_back_by_who_fails():
    with pytest.raises(RuntimeError, match="a fault"), locked(Path("new/file")):
        raise RuntimeError("a fault")
    with locked(Path("new/file")):
        assert os.listdir("new") == ["file.lock"]


def test_a_folder_that_takes_no_lock_is_told():
    Path("file").touch()
    with pytest.raises(StorageError, match="file/table.csv cannot be written: "), locked(Path("file/table.csv")):
        pass


def test_where_there_are_no_locks_work_goes_on_with_one_warning(monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    Path("count").write_text("0")
    count_up()
    assert Path("count").read_text() == "200"
    (told,) = caplog.messages
    assert told.endswith("this file system has no locks; two processes must not write the same file in it")


def test_two_processes_that_write_one_file_do_not_write_into_each_others():
    both_have_begun = multiprocessing.get_context("fork").Barrier(2)

    def writing(text):
        def write(partial):
            partial.write_text(text)
            both_have_begun.wait(timeout=20)
            with partial.open("a") as stream:
                stream.write(text)

        return lambda: write_whole(Path("file"), write)

    assert in_processes(writing("a"), writing("b")) == [0, 0]
    assert Path("file").read_text() in ("aa", "bb")
    assert not list(Path().glob("*.partial"))


def test_what_a_killed_process_had_begun_is_removed_before_a_file_is_written():
    in_processes(lambda: partial_path(Path("scores.csv")).touch())
    assert len(os.listdir()) == 1
    partial_path(Path("scores.csv"))
    assert os.listdir() == []


def test_unfinished_files_of_killed_processes_are_removed_from_a_folder_and_nothing_else():
    for folder in (Path(), Path("run"), Path("run/deep"), Path("data.host-1.partial")):
        folder.mkdir(exist_ok=True)
        in_processes(lambda folder=folder: partial_path(folder / "a[1].pth").touch())
    dead = next(Path().glob("a*")).name
    expected = [path for pattern in ("a*", "run/a*", "data*/a*") for path in Path().glob(pattern)]
    kept = [
        partial_path(Path("b.pth")),
        Path(dead.replace(".partial", "")),
        Path("a.elsewhere-1.partial"),
        Path("c.partial"),
    ]
    for path in kept:
        path.touch()
    Path(f"link.{dead}").symlink_to("run")
    before = {str(path) for path in Path().rglob("*")}
    removed = remove_leftovers(Path())
    assert sorted(map(str, removed)) == sorted(map(str, expected))
    assert {str(path) for path in Path().rglob("*")} == before - set(map(str, removed))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_scores_that_cannot_be_put_in_place_leave_those_that_were_there(monkeypatch, moment):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Path("scores.csv").write_text("old")
    monkeypatch.setattr(files.os, moment, fail)
    with (
        pytest.raises(StorageError, match="scores.csv cannot be written: No space left"),
        ScoreFile(Path("scores.csv")) as scores,
    ):
        scores.write(pa.table({"score": [0.5]}))
    assert os.listdir() == ["scores.csv"]
    assert Path("scores.csv").read_text() == "old"


def test_scores_of_a_run_that_fails_are_not_written():
    def fails_halfway():
        with ScoreFile(Path("scores.parquet")) as scores:
            scores.write(pa.table({"score": [0.5]}))
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        fails_halfway()
    assert os.listdir() == []


def test_a_new_folder_reaches_the_disk_before_it_has_its_name(monkeypatch):
    def named(descriptor):
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, Path("folder").exists()))

    synced = []
    monkeypatch.setattr(files.os, "fsync", named)
    with new_folder(Path("folder")) as work:
        (work / "inner").mkdir()
        (work / "inner" / "file").write_text("text")
    before = {name for name, exists in synced if not exists}
    assert {"inner", "file", work.name} <= before
    assert synced[-1] == (Path().resolve().name, True)

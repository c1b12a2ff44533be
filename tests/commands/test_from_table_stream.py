"""``recbole-cp from-table`` reads a file of any length in batches, with the result of reading it at once."""

import errno
import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.commands import from_table
from recbole_clickprompt.data.convert import csv_blocks, parquet_blocks
from recbole_clickprompt.data.convert.atomic import AtomicWriter
from recbole_clickprompt.data.convert.csv_blocks import CsvBlocks
from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.spool import Spool
from recbole_clickprompt.errors import DataError
from tests.commands.from_table_files import CASES, write_case
from tests.conftest import slow_but

GOLDEN = Path(__file__).with_name("from_table_golden.json")
ARGUMENTS = ["--user=user", "--item=item", "--label=y", "--name=shop"]


def result_of(case, capsys):
    """What the command prints and the files that it makes, as hashes."""
    path, arguments = write_case(case)
    assert main(["from-table", path, *ARGUMENTS, *arguments]) == 0
    files = sorted(p for folder in ("dataset_atomic", "props") for p in Path(folder).rglob("*") if p.is_file())
    found = {str(path): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files}
    return {"printed": capsys.readouterr().out.splitlines(), "files": found}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("block", slow_but(["small"], ["small", "large"]))
def test_the_result_is_that_of_reading_the_whole_file_at_once(case, block, capsys, monkeypatch):
    """The expected results were made before the command read in batches, when it held the whole table."""
    block = 1 << 21 if block == "large" else 40_000 if case == "texts" else 3000  # ten or so of a file, or one
    monkeypatch.setattr(csv_blocks, "_BLOCK", block)
    monkeypatch.setattr(parquet_blocks, "_BATCH_ROWS", block // 40)
    monkeypatch.setattr(from_table, "print_report", lambda *_, **__: None)  # it reads the finished files
    assert result_of(case, capsys) == json.loads(GOLDEN.read_text(encoding="utf-8"))[case]


PEAK = """
import resource, sys
from recbole_clickprompt.__main__ import main
from recbole_clickprompt.commands import from_table
from_table.print_report = lambda *_, **__: None  # it reads the data set as training does
columns = ["--user=user", "--item=item", "--label=y", "--time=when", "--name=" + sys.argv[2]]
main(["from-table", sys.argv[1], *columns])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.fixture
def program(tmp_path_factory):
    """Runs code in a new process, under the name by which the command line does not import RecBole."""
    file = tmp_path_factory.mktemp("bin") / "recbole-cp"

    def run(code, *arguments):
        file.write_text(code)
        command = [sys.executable, "-W", "ignore", str(file), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_rows(program):
    peaks = []
    for rows in (100_000, 400_000):
        name = f"t{rows}"
        with Path(f"{name}.csv").open("w") as stream:
            stream.write("user,item,y,when,price,words\n")
            for n in range(rows):
                words = f"some words on row {n} that differ from row to row"
                stream.write(f"u{n % 1009},i{n % 997},{n % 2},{1_600_000_000 + n},{n / 8},{words}\n")
        run = program(PEAK, f"{name}.csv", name)
        assert run.returncode == 0, run.stderr
        assert f"rows: {rows:,} read, {rows:,} written" in run.stdout
        peaks.append(int(run.stdout.splitlines()[-1]))
    # the table in memory took more than 700 bytes per row: 210 MB for 300,000 more rows
    assert peaks[1] - peaks[0] < 60


LIMITED = """
import resource, sys
from recbole_clickprompt.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(["from-table", "t.csv", "--user=user", "--item=item", "--label=y", "--name=shop"]))
"""


@pytest.mark.parametrize("limit", [1000, 60_000])
def test_a_file_that_may_not_grow_is_one_line_and_nothing_is_left(limit, program):
    generator = random.Random(0)
    rows = (f"u{n % 50},i{n % 70},{n % 2},{generator.random()}\n" for n in range(5000))
    Path("t.csv").write_text("user,item,y,price\n" + "".join(rows))
    run = program(LIMITED, str(limit))
    assert run.returncode == 2
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert "dataset_atomic/shop cannot be written: File too large" in line
    assert "Traceback" not in run.stderr
    assert [str(path) for path in Path().rglob("*") if path.suffix != ".csv"] == []


def test_a_full_disk_is_one_line_wherever_it_is_noticed(capsys, monkeypatch):
    path, arguments = write_case("plain")
    written = [Spool.append, Spool.finish, AtomicWriter.write, AtomicWriter.close, Path.write_text]
    for number, method in enumerate(written):
        owner = [Spool, Spool, AtomicWriter, AtomicWriter, Path][number]

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(owner, method.__name__, full)
            assert main(["from-table", path, *ARGUMENTS, *arguments]) == 2
        error = capsys.readouterr().err
        place = "props/dataset/shop.yaml" if owner is Path else "dataset_atomic/shop"
        assert f"error: {place} cannot be written: No space left on device" in error
        assert not Path("dataset_atomic").exists()
        assert not Path("props/dataset/shop.yaml").exists()


def test_no_property_file_is_left_where_the_data_set_cannot_be_put_in_place(capsys, monkeypatch):
    path, arguments = write_case("plain")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        assert main(["from-table", path, *ARGUMENTS, *arguments]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not Path("dataset_atomic").exists()
    assert not Path("props/dataset/shop.yaml").exists()
    assert main(["from-table", path, *ARGUMENTS, *arguments]) == 0


def test_a_value_without_an_end_is_refused_before_it_fills_the_memory(capsys, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_LONGEST_RECORD", 1000)
    monkeypatch.setattr(csv_blocks, "_BLOCK", 300)
    Path("t.csv").write_text('user,item,y\na,b,0\nc,"d,1\n' + "e,f,0\n" * 1000)
    assert main(["from-table", "t.csv", *ARGUMENTS]) == 2
    assert "t.csv, line 3: from here on a quote is opened and not closed within 1,000" in capsys.readouterr().err
    Path("t.csv").write_text("user,item,y\na,b,0\nc," + "d" * 2000)
    assert main(["from-table", "t.csv", *ARGUMENTS]) == 2
    assert "t.csv, line 3: a line of more than 1,000 bytes" in capsys.readouterr().err


CELLS = st.sampled_from(["", "a", '"b"', '"c,d"', '"e\nf"', '"g""h"', '"', 'i"j', '"k\r\nl"', " ", "ü"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=8),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.booleans(),
    st.integers(1, 20),
)
def test_csv_in_blocks_is_csv_read_at_once(tmp_path_factory, rows, end, quoting, block):
    text = end.join(["x,y", *(",".join(row) for row in rows)]) + end
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(text.encode())
    blocks = CsvBlocks(path, quoting=quoting, number_column="none", quote_remedy="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_blocks, "_BLOCK", block)
        try:
            expected = read_csv(text, str(path), quoting=quoting)
        except DataError:
            with pytest.raises(DataError):
                list(blocks.batches())
            return
        batches = list(blocks.batches())
    assert [row for frame, _ in batches for row in frame.rows()] == expected.frame.rows()
    lines = [int(line) for _, found in batches for line in found]
    assert lines == [expected.line_of(row) for row in range(len(expected.frame))]

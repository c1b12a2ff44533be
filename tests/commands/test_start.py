"""Help, and commands that read tables only, start without RecBole, ray and torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from recbole_clickprompt.__main__ import COMMANDS
from recbole_clickprompt.commands.prepare import _NAMES
from recbole_clickprompt.data.convert.catalog import RECIPES

HEAVY = {"ray", "recbole", "torch", "transformers"}


# Converts a table as if it had too many rows for the report, which RecBole reads
WITHOUT_REPORT = (
    "import sys; from recbole_clickprompt.__main__ import main; from recbole_clickprompt.commands import data; "
    "data._MOST_ROWS = 0; sys.exit(main(sys.argv[1:]))"
)


def imported(*arguments, program=("-m", "recbole_clickprompt")):
    """The modules that a command imports, by Python's own account."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *program, *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")
    }


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_imports_no_library_that_takes_seconds(command):
    modules = imported(*command, "--help")
    assert "recbole_clickprompt.errors" in modules  # the names of modules are found at all
    assert modules & (HEAVY | {"numpy", "pandas", "polars", "scipy"}) == set()


def test_the_help_of_prepare_names_every_data_set():
    assert tuple(RECIPES) == _NAMES


@pytest.mark.parametrize("command", [["metrics"], ["long-tail"], ["runs", "show"]])
def test_a_command_that_reads_tables_imports_no_torch(command, trained_runs):
    modules = imported(*command, str(trained_runs["plain"]))
    assert "pandas" in modules
    assert modules & HEAVY == set()


def test_a_table_is_converted_without_torch(tmp_path):
    rows = "".join(f"u{i % 7},i{i % 5},{i % 2}\n" for i in range(100))
    (tmp_path / "clicks.csv").write_text(f"user,item,click\n{rows}")
    (tmp_path / "recbole-cp").write_text(WITHOUT_REPORT)
    columns = ["--user=user", "--item=item", "--label=click"]
    modules = imported("from-table", "clicks.csv", *columns, "--name=clicks", program=["recbole-cp"])
    assert "polars" in modules
    assert modules & HEAVY == set()


# Says that models are registered, which takes seconds, instead of doing so
SAYS_IT_REGISTERS = (
    "import sys, types\n"
    "stand_in = types.ModuleType('recbole_clickprompt.host.registration')\n"
    "stand_in.register = lambda: print('registers', flush=True)\n"
    "sys.modules[stand_in.__name__] = stand_in\n"
)


def test_processes_that_the_command_line_starts_know_the_models():
    Path("recbole-cp").write_text(
        f"{SAYS_IT_REGISTERS}"
        "import multiprocessing\n"
        "from recbole_clickprompt.__main__ import main\n"
        "if __name__ == '__main__':\n"
        "    print('command', flush=True)\n"
        "    child = multiprocessing.get_context('spawn').Process(target=print, args=('process',))\n"
        "    child.start()\n"
        "    child.join()\n"
    )
    done = subprocess.run([sys.executable, "recbole-cp"], capture_output=True, text=True)
    assert done.stdout.split() == ["command", "registers", "process"], done.stderr


def test_a_program_of_another_name_registers_the_models():
    program = f"{SAYS_IT_REGISTERS}import recbole_clickprompt"
    Path("mine.py").write_text(program)
    for arguments in (["mine.py"], ["-c", program]):
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
        assert done.stdout.split() == ["registers"], done.stderr


def test_a_program_may_have_replaced_its_arguments():
    program = f"{SAYS_IT_REGISTERS}sys.argv = ['x'] * 9\nimport recbole_clickprompt"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["registers"], done.stderr


@pytest.mark.parametrize("arguments", [["run", "--help"], pytest.param(["data", "tiny"], marks=pytest.mark.slow)])
def test_a_reader_that_ends_early_is_no_error(arguments, small):
    """As `recbole-cp data tiny | head -1`."""
    data = [f"--data_path={small['data_path']}"] if arguments[0] == "data" else []
    command = [sys.executable, "-m", "recbole_clickprompt", *arguments, *data]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    _, errors = process.communicate()
    assert "BrokenPipe" not in errors
    assert process.returncode in (0, 141)  # argparse ignores errors of its own output

"""`show` prints the text of the rows that a run with the same settings reads."""

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.run_folder import open_run
from tests.conftest import SHORT

RANDOM = "--eval_args={split: {RS: [8, 1, 1]}, order: RO, group_by: ~, mode: labeled}"


@pytest.fixture
def arguments(small):
    settings = {**small, **SHORT, "seed": 7, "epochs": 1}
    return ["--model=DCNV2", "--dataset=tiny", RANDOM, *(f"--{k}={v!r}" for k, v in settings.items())]


def test_rows_of_a_part_are_those_of_a_run_with_the_same_seed(arguments, capsys, tmp_path):
    assert main(["run", *arguments]) == 0
    (checkpoint,) = (tmp_path / "saved").glob("DCNV2-*.pth")
    predictions = open_run(checkpoint).predictions()
    for part in ("valid", "test"):
        capsys.readouterr()
        assert main(["show", *arguments, f"--part={part}", "--row=3", "--row=0"]) == 0
        lines = capsys.readouterr().out.splitlines()
        rows = predictions[predictions["split"] == part].iloc[[3, 0]]
        expected = [f"{row.label:.0f}  user ID is {row.user}." for row in rows.itertuples()]
        assert [f"{line.partition('. ')[0]}." for line in lines] == expected


def test_first_rows_of_training_are_the_default(arguments, capsys):
    assert main(["show", *arguments, "--rows=4"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert main(["show", *arguments, "--part=train", *(f"--row={row}" for row in range(4))]) == 0
    assert capsys.readouterr().out.splitlines() == first
    assert len(first) == 4


@pytest.mark.parametrize("row", [-1, 131])
def test_a_row_that_there_is_not_is_refused(arguments, capsys, row):
    assert main(["show", *arguments, "--part=test", f"--row={row}"]) == 2
    assert f"--row must be from 0 to 130 in the part test, got {row}" in capsys.readouterr().err

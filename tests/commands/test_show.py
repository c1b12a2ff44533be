"""`show` prints the text of the rows, or of their items and users, that a run with the same settings reads."""

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.registry import find_method
from tests.conftest import ROOT, SHORT
from tests.methods.msd.students import SETTINGS

DATA = f"--data_path={ROOT / 'dataset_atomic'}"
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


def shown(capsys, model, **settings):
    flags = [DATA, *(f"--{name}={value}" for name, value in settings.items())]
    assert main(["show", f"--model={model}", "--dataset=tiny", "--rows=2", *flags]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_row_is_a_sentence(capsys):
    lines = shown(capsys, "ClickPrompt")
    assert len(lines) == 2
    assert all(line[0] in "01" and "user ID is u" in line and "film ID is i" in line for line in lines)


@pytest.mark.parametrize(
    ("model", "settings", "levels"),
    [
        ("MSD", {"user_knowledge": "none"}, ["item"]),
        ("MSD", {"user_knowledge": "static"}, ["item", "user"]),
        ("KAR", {"user_knowledge": "blocks", "knowledge_vectors": "texts"}, ["item", "user"]),
        ("QARMLike", {}, ["item"]),
        ("CharMatchLike", {}, ["item", "user"]),
    ],
)
def test_texts_of_items_and_users_stand_for_themselves(capsys, model, settings, levels):
    lines = shown(capsys, model, **settings)
    assert [line[3:].split(": ")[0] for line in lines] == levels * 2
    assert [line[0] in "01" for line in lines] == [level == levels[0] for level in levels * 2]
    for line in lines:
        assert " ID is " not in line
        assert ("title is " if line[3:].startswith("item") else "gender is ") in line


def test_the_teachers_phrases_are_part_of_the_text_that_is_read(capsys):
    (plain, _), (read, _) = (
        shown(capsys, "MSD", user_knowledge="none", read_answers=value) for value in (False, True)
    )
    assert read.startswith(plain)
    assert "; " in read.removeprefix(plain)


def test_profiles_are_those_of_the_rows_blocks(make_config, make_data):
    """The text of a row's user is the one that training reads: the profile as of the row's block."""
    config = make_config("MSD", **{**SETTINGS, "user_knowledge": "blocks"})
    train, *_ = make_data(config)
    texts = find_method("MSD").level_texts(config, train._dataset)
    assert len(texts["user"]) == len(train._dataset.user_profiles.users)
    assert any("Liked: " in text for text in texts["user"])

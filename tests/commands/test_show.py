"""`recbole-cp show` prints what a method's language model reads, whatever that is."""

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.methods.registry import find_method
from tests.conftest import ROOT
from tests.methods.msd.students import SETTINGS

DATA = f"--data_path={ROOT / 'dataset_atomic'}"


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

"""Codes of the data and their words stay as they are written, wherever YAML would read something else."""

import json
from pathlib import Path

import pytest
import yaml
from recbole.config import Config

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.properties import parse_yaml, read_yaml
from recbole_clickprompt.tuning.space import read_space

CODES = "{NO: Norway, yes: no, 007: bond, 010: ten, 1.0: one, 12:30: noon, ~: none, 1e3: many, 2020-01-01: date}"
WORDS = {
    "NO": "Norway", "yes": "no", "007": "bond", "010": "ten", "1.0": "one", "12:30": "noon", "~": "none",
    "1e3": "many", "2020-01-01": "date",
}  # fmt: skip


def test_a_property_file_keeps_codes_and_words():
    Path("codes.yaml").write_text(f"value_labels:\n  gender: {CODES}\n  off: {{N: off}}\nepochs: 010\n")
    content = read_yaml(Path("codes.yaml"))
    assert content["value_labels"] == {"gender": WORDS, "off": {"N": "off"}}
    assert content["epochs"] == 8  # all else is YAML


def test_a_grid_or_tuning_file_keeps_them_at_any_depth():
    text = f"settings:\n  value_labels: {{gender: {CODES}}}\nruns:\n  a: {{value_labels: {{gender: {CODES}}}}}\n"
    content = parse_yaml(text)
    assert content["settings"]["value_labels"] == content["runs"]["a"]["value_labels"] == {"gender": WORDS}


def test_values_to_try_keep_them_too():
    text = f"vary:\n  value_labels: [{{gender: {CODES}}}]\n"
    assert parse_yaml(text)["vary"]["value_labels"] == [{"gender": WORDS}]
    (draw,) = read_space({"value_labels": "choice [{gender: {NO: 007}}]"}, Path("tune.yaml"))
    assert list(draw.bounds()) == [{"gender": {"NO": "007"}}]


def test_the_command_line_and_a_dict_of_settings_keep_them(make_config, small):
    assert parse_settings([f"--value_labels={{gender: {CODES}}}"])["value_labels"] == {"gender": WORDS}
    assert make_config(value_labels=f"{{gender: {CODES}}}")["value_labels"] == {"gender": WORDS}
    Path("codes.yaml").write_text(f"value_labels:\n  gender: {CODES}\n")
    assert Config("ClickPrompt", "tiny", ["codes.yaml"], dict(small))["value_labels"] == {"gender": WORDS}
    assert make_config(value_labels={"gender": {7: "bond"}})["value_labels"] == {"gender": {7: "bond"}}


@pytest.mark.parametrize(
    "words", [{True: "yes"}, {"F": True}, {"F": None}, {"F": ""}, {"F": ["x"]}, "F: female", None]
)
def test_words_that_no_code_can_have_are_refused(words, make_config):
    with pytest.raises(SettingError, match="value_labels must be a mapping of fields to mappings of codes"):
        make_config(value_labels={"gender": words})


def test_words_reach_the_text(small, capsys):
    folder = Path("props/dataset")
    folder.mkdir(parents=True)
    shipped = yaml.safe_load((Path(__file__).parents[2] / "props/dataset/tiny.yaml").read_text())
    shipped.pop("value_labels", None)
    (folder / "tiny.yaml").write_text(f"{yaml.safe_dump(shipped)}\nvalue_labels:\n  gender: {{F: yes, M: no}}\n")
    assert main(["show", "--dataset=tiny", "--rows=40", f"--data_path={small['data_path']}"]) == 0
    shown = capsys.readouterr().out
    assert "gender is yes." in shown
    assert "gender is no." in shown


def test_a_code_that_no_row_has_is_reported(make_config, make_data, caplog):
    words = {"gender": {"F": "female", "W": "woman"}, "year": {"1996": "1996, a leap year", "3000": "far"}}
    data = make_data(make_config(value_labels=words))
    data[0]._dataset.textualizer()
    assert "value_labels: no row has gender 'W'; the values of gender are 'F', 'M'" in caplog.text
    assert "value_labels: no row has year '3000'; the values of year are " in caplog.text
    assert json.dumps("1996") not in caplog.text.partition("its values")[0]


def test_words_of_a_field_outside_the_text_are_reported(make_config, make_data, caplog):
    config = make_config(
        value_labels={"device": {"phone": "mobile"}}, text_fields={"user_id": "user", "gender": "sex"}
    )
    make_data(config)[0]._dataset.textualizer()
    assert "value_labels has no effect for device, because text_fields does not include it" in caplog.text

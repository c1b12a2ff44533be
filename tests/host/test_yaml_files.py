"""YAML that is refused in one line, whatever reads it."""

from pathlib import Path

import pytest
import yaml
from recbole.config import Config

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.properties import parse_yaml, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
)
REFUSED = {
    "deep lists": ("a: " + "[" * 3000 + "]" * 3000, "nested more than 50 deep"),
    "lists of 60": ("a: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
    "deep mappings": ("a: " + "{b: " * 2000 + "1" + "}" * 2000, "nested more than 50 deep"),
    "a mapping in itself": ("a: &a\n  b: *a", "contains itself"),
    "a list in itself": ("a: &a [*a]", "contains itself"),
    "labels in themselves": ("value_labels: &a\n  b: *a", "contains itself"),
    "anchors that expand": (BOMB, "more than 100,000 values"),
    "a repeated key": ("a: 1\nb: 2\na: 3", "the key 'a' is there twice"),
    "a repeated inner key": ("a: {b: 1, b: 2}", "the key 'b' is there twice"),
    "5000 digits": ("a: " + "9" * 5000, "cannot be read as int"),
    "no digits": ("a: 0x_", "cannot be read as int"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_plain_value_is_refused_in_one_line(case):
    text, message = REFUSED[case]
    Path("file.yaml").write_text(text)
    with pytest.raises(SettingError, match=f"file.yaml is not valid YAML: .*{message}"):
        read_yaml(Path("file.yaml"))
    with pytest.raises(yaml.YAMLError, match=message):
        parse_yaml(text)


def test_an_error_of_yaml_names_the_line():
    Path("file.yaml").write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(SettingError, match="line 3, column 1"):
        read_yaml(Path("file.yaml"))


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
def test_a_file_without_settings_is_fine(text, small):
    Path("file.yaml").write_text(text)
    assert read_yaml(Path("file.yaml")) == {}
    assert Config("ClickPrompt", "tiny", ["file.yaml"], dict(small))["dataset"] == "tiny"


def test_aliases_that_stay_small_are_values():
    assert parse_yaml("[&a [1, 2], *a, {<<: &b {c: 1}, c: 2}]") == [[1, 2], [1, 2], {"c": 2}]


@pytest.mark.parametrize("text", ["epochs: 1\nepochs: 2", "text_fields: &a {b: *a}"])
def test_config_files_of_python_and_of_the_command_line_have_one_reader(text, small, capsys):
    Path("file.yaml").write_text(text)
    with pytest.raises(SettingError, match="file.yaml is not valid YAML") as error:
        Config("ClickPrompt", "tiny", ["file.yaml"], dict(small))
    assert main(["show", "--dataset=tiny", "--config_files=file.yaml"]) == 2
    assert capsys.readouterr().err == f"error: {error.value}\n"


def test_impossible_dates_are_texts():
    assert parse_yaml("[2020-13-45, 2001-02-30]") == ["2020-13-45", "2001-02-30"]


@pytest.mark.parametrize("argument", [f"--text_fields={'[' * 3000}", "--text_fields=&a {b: *a}"])
def test_values_of_the_command_line_are_held_to_the_same(argument, capsys):
    assert main(["show", "--dataset=tiny", argument]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {argument.partition('=')[0]}")
    assert len(line) < 1600

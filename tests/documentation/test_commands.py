"""The commands and settings that the README and the pages show exist."""

import argparse
import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from recbole.utils import argument_list

from recbole_clickprompt.__main__ import COMMANDS, command_module
from tests.documentation.markdown import PAGES, ROOT, blocks, commands, documented_settings, inline_code

_RECBOLE = (argument_list.general_arguments, argument_list.training_arguments, argument_list.dataset_arguments)
SETTINGS = documented_settings().union(*_RECBOLE)
# Keys of grid and tuning files
GRID = {"dataset", "model", "settings", "runs", "vary", "seeds", "baseline", "base", "costs", "results"}
SEARCH = {"settings", "space", "algorithm", "max_evals", "early_stop", "seed", "results"}
# RecBole's flags, which sentences show without the command
FLAGS = {"config_files", "world_size", "group_offset"}
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def assert_valid(words):
    """Parses a command as it would be; what is left must be settings."""
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
        return
    if words[0] == "recbole-cp":
        name, arguments = words[1], words[2:]
    elif words[:2] == ["python", "-m"]:
        assert_module_valid(words[2], words[3:])
        return
    elif "run_recbole_cp.py" not in words:  # a script that the tutorial makes, whose test runs it
        assert words[1] in ("make_table.py", "make_days.py", "served/score.py")
        return
    else:
        script = words.index("run_recbole_cp.py")
        name, arguments = "run", words[script + 1 :]
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    command_module(name).add_arguments(parser)
    _, left = parser.parse_known_args(arguments)
    for word in left:
        key, equals, value = word.partition("=")
        assert equals, f"{word} is no option of recbole-cp {name}"
        assert key.removeprefix("--") in SETTINGS | (GRID if name == "grid" else set()), word
        yaml.safe_load(value)


def assert_module_valid(module, arguments):
    """A benchmark and its options exist."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    source = Path(spec.origin).read_text(encoding="utf-8")
    for option in re.findall(r"--([\w-]+)", " ".join(arguments)):
        assert re.search(rf'["-]{option}["=]', source), f"--{option} is no option of {module}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_in_a_block_parses(page):
    for words in commands(page):
        assert_valid(words)


def test_commands_are_found_at_all():
    assert len([words for page in PAGES for words in commands(page)]) > 20


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["recbole-cp", "bench"], KeyError),
        (["recbole-cp", "show", "--dataset=tiny", "--num_promts=2"], AssertionError),
        (["recbole-cp", "metrics", "--baselin=A", "saved/A"], AssertionError),
        (["recbole-cp", "predict", "saved/A"], (argparse.ArgumentError, SystemExit)),
        (["make", "lunch"], AssertionError),
        (["python", "-m", "benchmarks.bench", "--repeat", "3"], AssertionError),
    ],
)
def test_a_command_that_does_not_exist_is_found(words, error, capsys):
    with pytest.raises(error):
        assert_valid(words)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_named_in_a_sentence_exists(page):
    for code in inline_code(page):
        found = re.match(r"recbole-cp ([a-z][\w-]*)(.*)", code)
        if not found or page.name == "CHANGELOG.md":  # which names what was removed
            continue
        parser = argparse.ArgumentParser()
        command_module(found[1]).add_arguments(parser)
        options = {*re.findall(r"--[\w-]+", parser.format_help()), *(f"--{key}" for key in SETTINGS | GRID)}
        for option in re.findall(r"--[\w-]+", found[2]):
            assert option in options, code


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_setting_named_is_documented(page):
    for code in inline_code(page):
        found = re.match(r"(?:--)?([a-z]+_[a-z_]+)(?:: |=)", code)
        if found:
            assert found[1] in SETTINGS | GRID | SEARCH | FLAGS, code


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_code_blocks_are_python_and_yaml(page):
    for text in blocks(page, "python"):
        compile(text, str(page), "exec")
    for text in blocks(page, "yaml"):
        keys = yaml.safe_load(text)
        assert set(keys) <= SEARCH | GRID
        assert {*keys["settings"], *keys.get("space", ())} <= SETTINGS | GRID


def test_the_readme_lists_every_command():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Commands")[2]
    assert set(re.findall(r"^\| `([\w-]+)` \| ", table, re.MULTILINE)) == set(COMMANDS)

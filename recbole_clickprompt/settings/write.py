"""Writes property files and docs out of the declarations: ``python -m recbole_clickprompt.settings.write``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_clickprompt.settings.declaration import Elsewhere, Setting
from recbole_clickprompt.settings.old_names import DROPPED, RENAMED
from recbole_clickprompt.settings.registry import declared, methods, methods_of, settings_of

__all__ = ["generated_files", "main"]

_ROOT = Path(__file__).resolve().parents[2]
_WIDTH, _COLUMN = 115, 34  # of a line, and of the comments in it

_OVERALL = """\
# Settings that all runs share. model/<Model>.yaml, backbone/<Backbone>.yaml, dataset/<dataset>.yaml, your own
# files, config_dict and the command line override them, in this order. A file of the same name under ./props of
# the working folder replaces the one shipped. RecBole's own settings are allowed too.
"""
_METHOD = "# Settings of {method}: its own, and shared ones for which it has a default.\n"
_WRITTEN = "# Written by `python -m recbole_clickprompt.settings.write`: change the declarations, not this file.\n"
_PAGE = """\
# Settings

Written by `python -m recbole_clickprompt.settings.write`: change the declarations, not this page.

Settings come from these places, and later ones override earlier ones: `props/overall.yaml`,
`props/model/<Model>.yaml`, `props/backbone/<Backbone>.yaml`, `props/dataset/<dataset>.yaml`, your own files
(`--config_files`), `config_dict`, and `--key=value` of the command line. A file of the same name under `./props`
of the working folder replaces the one shipped. Unknown settings and invalid values fail with a one-line error
before any data is read.

*Stage* is what a setting determines. `pretrain`: pretraining, and finetuning, which starts from it; `text`: the
same, where pretraining reads text; `finetune`: finetuning and evaluation alone; `none`: nothing that is trained.
Runs that agree in all settings of `pretrain`, and of `text` where text is read, share one pretraining. *Method* is
the model that reads a setting; it is empty where all do.
"""
_EARLIER = """\
## Settings of earlier versions

Old names work in this version, with a notice; an old and a new name together are an error. Settings that are gone
are an error in a new run. Saved runs may have both: they load, predict and report.
"""
_GROUPS = (
    "Backbone", "History", "Text", "Training", "PLM", "Prompts", "Fusion", "Pretraining", "Evaluation", "Data",
    "Output", "Experimental", "Settings of single backbones",
)  # fmt: skip
_NOTES = {
    "Pretraining": """\
Each setting that is named after one of finetuning, such as `pretrain_learning_rate`, is its twin for pretraining.
""",
    "Experimental": "Controls and details of experiments; their names and effects may change.\n",
    "Settings of single backbones": """\
Defaults are in `props/backbone/<Backbone>.yaml`. A file that several backbones share may hold the settings of all.
""",
}


def generated_files() -> dict[Path, str]:
    """The text of every file that is generated, by its path."""
    files = {
        _ROOT / "props" / "overall.yaml": f"{_OVERALL}{_WRITTEN}{_property_file(settings_of(''))}",
        _ROOT / "docs" / "configuration.md": _page(),
    }
    for method in methods():
        path = _ROOT / "props" / "model" / f"{method}.yaml"
        files[path] = f"{_METHOD.format(method=method)}{_WRITTEN}{_property_file(settings_of(method))}"
    return files


def _in_groups(settings: Mapping[str, Setting]) -> Iterable[tuple[str, dict[str, Setting]]]:
    if missing := {setting.group for setting in settings.values()}.difference(_GROUPS):
        raise ValueError(f"add {missing} to _GROUPS, or its settings are written nowhere")
    for group in _GROUPS:
        members = {name: setting for name, setting in settings.items() if setting.group == group}
        if members:
            yield group, members


def _property_file(settings: Mapping[str, Setting]) -> str:
    own = {name: setting for name, setting in settings.items() if not isinstance(setting.default, Elsewhere)}
    sections = []
    for group, members in _in_groups(own):
        lines = [line for name, setting in members.items() for line in _lines(name, setting)]
        sections.append("\n".join([f"\n# {group}", *lines]))
    return "\n".join([*sections, ""])


def _lines(name: str, setting: Setting) -> list[str]:
    """``name: value  # (type) meaning``, the comment wrapped."""
    start = f"{name}: {_flow(setting.default)}".ljust(_COLUMN - 1) + " "
    if len(start) > _COLUMN:
        start += " "
    comment = f"({setting.type.name}) {setting.meaning}"
    # A long value leaves its line little room for a comment
    first, *others = textwrap.wrap(
        comment, _WIDTH - _COLUMN - 2, initial_indent=" " * max(len(start) - _COLUMN, 0)
    )
    return [f"{start}# {first.lstrip()}", *(f"{' ' * _COLUMN}# {line}" for line in others)]


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        return str(value).replace("e-0", "e-")
    return "~" if value is None else str(value)


def _page() -> str:
    parts = [_PAGE]
    for group, members in _in_groups(declared()):
        head = ["| setting | type | default | stage | meaning | method |", "|---|---|---|---|---|---|"]
        rows = [_row(name, setting) for name, setting in members.items()]
        note = f"{_NOTES[group]}\n" if group in _NOTES else ""
        parts.append(f"## {group}\n\n{note}" + "\n".join([*head, *rows, ""]))
    return "\n".join(
        [*parts, _EARLIER, _table("old name", "name", RENAMED), _table("gone", "use instead", DROPPED)]
    )


def _table(left: str, right: str, names: Mapping[str, str]) -> str:
    rows = [f"| `{old}` | {f'`{new}`' if new in declared() else new} |" for old, new in names.items()]
    return "\n".join([f"| {left} | {right} |", "|---|---|", *rows, ""])


def _row(name: str, setting: Setting) -> str:
    methods = methods_of(name)
    own = {method: _shown(settings_of(method)[name].default) for method in methods if method}
    if len(set(own.values())) > 1:
        default = ", ".join(f"{value} ({method})" for method, value in own.items())
    else:
        default = next(iter(own.values()), _shown(setting.default))
    readers = "" if "" in methods else ", ".join(methods)
    cells = (f"`{name}`", setting.expected, default, setting.stage, setting.meaning, readers)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(default: Any) -> str:
    if isinstance(default, Elsewhere):
        return default.where
    return "None" if default is None else f"`{_flow(default)}`"


def main() -> None:
    """Writes every generated file."""
    for path, text in generated_files().items():
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()

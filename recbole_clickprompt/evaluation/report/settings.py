"""Section with the commands and settings of the runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_clickprompt.evaluation.report.content import Panel, Section, Table
from recbole_clickprompt.evaluation.run_folder import RunFolder

__all__ = ["settings_section"]

_MISSING = "-"


def settings_section(runs: Mapping[str, RunFolder]) -> Section:
    """The command of each run, the settings in which runs differ, and all settings, collapsed."""
    settings: dict[str, Mapping[str, Any]] = {name: run.info["settings"] for name, run in runs.items()}
    panels = [
        Panel(
            title="Commands",
            caption="The command line of each run.",
            commands=[(name, _lines(run.info["command"])) for name, run in runs.items()],
            wide=True,
        )
    ]
    if len(runs) > 1:
        panels.append(_differences(settings))
    folded = [
        Table(
            caption=f"All {len(values)} settings of {name}",
            header=["setting", "value"],
            rows=[(key, _text(values[key])) for key in sorted(values)],
            words=True,
        )
        for name, values in settings.items()
    ]
    return Section("settings", "Settings and commands", panels, folded)


def _differences(settings: Mapping[str, Mapping[str, Any]]) -> Panel:
    rows = []
    for key in sorted(set().union(*settings.values())):
        values = [_text(run[key]) if key in run else _MISSING for run in settings.values()]
        if len(set(values)) > 1:
            rows.append((key, *values))
    if not rows:
        return Panel("Differences", caption="All runs have the same settings.", wide=True)
    table = Table("Settings in which the runs differ.", ["setting", *settings], rows, words=True)
    return Panel("Differences", table=table, wide=True)


def _lines(command: Sequence[str]) -> str:
    """A command that can be pasted into a shell, with each ``--key=value`` on its own line."""
    parts = [shlex.quote(part) for part in command]
    return "".join(
        f" \\\n  {part}" if number and part.lstrip("'").startswith("--") else f" {part}" if number else part
        for number, part in enumerate(parts)
    )


def _text(value: object) -> str:
    """A setting's value: strings unchanged, others as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

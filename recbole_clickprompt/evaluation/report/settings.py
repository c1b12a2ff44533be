"""What the runs were: their commands and settings."""

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
    """The command of each run, the settings in which they differ, and all of them folded away."""
    settings: dict[str, Mapping[str, Any]] = {name: run.info["settings"] for name, run in runs.items()}
    panels = [
        Panel(
            title="Commands",
            caption="What made each run, as it was typed.",
            commands=[(name, _lines(run.info["command"])) for name, run in runs.items()],
            wide=True,
        )
    ]
    if len(runs) > 1:
        panels.append(_differences(settings))
    folded = [
        Table(
            caption=f"All {len(own)} settings of {name}",
            header=["setting", "value"],
            rows=[(key, _text(own[key])) for key in sorted(own)],
            words=True,
        )
        for name, own in settings.items()
    ]
    return Section("settings", "Settings and commands", panels, folded)


def _differences(settings: Mapping[str, Mapping[str, Any]]) -> Panel:
    rows = []
    for key in sorted(set().union(*settings.values())):
        values = [_text(own[key]) if key in own else _MISSING for own in settings.values()]
        if len(set(values)) > 1:
            rows.append((key, *values))
    if not rows:
        return Panel("Differences", caption="All settings are the same in all runs.", wide=True)
    table = Table("Settings whose value is not the same in all runs.", ["setting", *settings], rows, words=True)
    return Panel("Differences", table=table, wide=True)


def _lines(command: Sequence[str]) -> str:
    """A command as it can be pasted into a shell, each ``--key=value`` on a line of its own."""
    parts = [shlex.quote(part) for part in command]
    return "".join(
        f" \\\n  {part}" if number and part.lstrip("'").startswith("--") else f" {part}" if number else part
        for number, part in enumerate(parts)
    )


def _text(value: Any) -> str:
    """A setting's value, as JSON writes it but for plain texts."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

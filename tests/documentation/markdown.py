"""What the README and the pages show: links, commands, settings and code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

__all__ = ["PAGES", "ROOT", "anchors", "blocks", "commands", "documented_settings", "inline_code", "links"]

ROOT = Path(__file__).parents[2]
_AT_ROOT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "dataset_atomic/README.md")
PAGES = [*(ROOT / name for name in _AT_ROOT), *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


def blocks(page: Path, language: str) -> list[str]:
    """Contents of the page's fenced blocks of a language; "" are those without one."""
    return [text for name, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def _prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Targets of the page's links and pictures, but for those on the web."""
    return [target for target in _LINK.findall(_CODE.sub("", _prose(page))) if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Names of the page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def inline_code(page: Path) -> list[str]:
    """Every text in back-ticks outside blocks."""
    return [" ".join(code.split()) for code in _CODE.findall(_prose(page))]


def commands(page: Path) -> list[list[str]]:
    """Words of each command line that the page's blocks show, without comments."""
    lines = [line for text in blocks(page, "") for line in text.replace("\\\n", " ").splitlines()]
    starts = ("recbole-cp ", "python ", "torchrun ", "make ")
    return [shlex.split(line, comments=True) for line in lines if line.startswith(starts)]


def documented_settings() -> set[str]:
    """Keys in the first column of the tables of ``docs/configuration.md``."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    return {name for cell in cells for name in _CODE.findall(cell)}

"""Convert a data set from its publisher's files to atomic files with the paper's split.

The folder is only created if the whole conversion succeeds. Without --raw the files are downloaded, but for
kdd2012, which its publisher sends only to those who log in. The terms of the data set's license are printed
at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.arguments import reject_settings
from recbole_clickprompt.commands.data import print_report
from recbole_clickprompt.errors import SettingError, nearest

if TYPE_CHECKING:
    from recbole_clickprompt.data.convert.split import Counts

__all__ = ["add_arguments", "execute"]

# The names in RECIPES, which a test compares: importing the converters would slow down the help
_NAMES = ("ml-1m", "ml-100k", "ml-latest-small", "book-crossing", "amazon-toys-games-18", "goodreads", "kdd2012")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name, source and target."""
    parser.add_argument("name", metavar="NAME", help=", ".join(_NAMES))
    parser.add_argument("--raw", type=Path, help="the publisher's archive, folder, or one of several files")
    parser.add_argument("--out", type=Path, default=Path("dataset_atomic"), help="default: %(default)s")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prepares the data set, and prints its counts next to the published ones.

    Raises:
        SettingError: There is no such data set, or an argument is unknown.
        DataError: The files cannot be downloaded or read, or are invalid.
    """
    from recbole_clickprompt.data.convert.catalog import RECIPES, prepare

    reject_settings(options, settings)
    if options.name not in RECIPES:
        raise SettingError(
            f"{options.name!r} cannot be prepared{nearest(options.name, RECIPES)}; known are {', '.join(RECIPES)}"
        )
    counts = prepare(options.name, options.raw, options.out)
    recipe = RECIPES[options.name]
    print(f"{options.out / options.name} is ready:")
    print(_table(counts, recipe.published))
    for note in (*_why(counts, recipe.published), *counts.notes):
        print(f"note: {note}")
    print_report(options.name, folder=options.out, rows=counts.rows or counts.raw_rows or 0)
    print(f"license: {recipe.license}")


def _table(found: Counts, published: Counts) -> str:
    lines = [f"  {'':<12} {'prepared':>12} {'published':>12}"]
    pairs = [("raw rows", found.raw_rows, published.raw_rows), ("rows", found.rows, published.rows)]
    for name in ("users", "items"):
        if getattr(found, name) is not None:
            pairs.append((name, getattr(found, name), getattr(published, name)))
    pairs.append(("positive", found.positive, published.positive))
    for i, part in enumerate(("train", "valid", "test")):
        pairs.append((part, found.parts and found.parts[i], published.parts and published.parts[i]))
    pairs.append(("vocabulary", found.vocabulary, published.vocabulary))
    for name, count, expected in pairs:
        difference = None if count is None or expected is None else count - expected
        remark = {None: "", 0: "equal"}.get(difference, f"{difference:+,}" if difference else "")
        lines.append(f"  {name:<12} {_number(count):>12} {_number(expected):>12}  {remark}".rstrip())
    return "\n".join(lines)


def _why(found: Counts, published: Counts) -> list[str]:
    if published.raw_rows is not None and found.raw_rows != published.raw_rows:
        return [
            "the raw rows differ, so these are not the publisher's complete files; hence the other differences"
        ]
    if published.rows is not None and found.rows != published.rows:
        return ["the rows differ: the raw files or the filter are not the paper's; hence the other differences"]
    if published.vocabulary is not None and found.vocabulary != published.vocabulary:
        return ["the rows agree but the vocabulary does not: values are cleaned or joined differently"]
    return []


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"

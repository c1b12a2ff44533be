"""Makes the data set ``ml-100k-phrases``: ml-100k with the shipped phrases of a teacher as text of the films.

    python -m benchmarks.phrases
    recbole-cp grid evidence/phrases-new-films.yaml

Writes ``dataset_atomic/ml-100k-phrases/`` and ``props/dataset/ml-100k-phrases.yaml`` in the working directory.
Rows, users and all columns of ml-100k are as they are; each film has four more columns, of which a grid loads one:

  phrases                     explicit, then implicit phrases
  explicit_phrases            only what the title, the year and the genre say
  phrases_without_reception   without those about praise, prizes and revenue, unknown when a film was new
  other_phrases               a control: all phrases about another film
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import recbole

from recbole_clickprompt.files import write_text
from recbole_clickprompt.host.properties import find_file
from recbole_clickprompt.knowledge.embedded import find_knowledge
from recbole_clickprompt.knowledge.records import read_answers

__all__ = ["main", "phrase_columns"]

_NAME = "ml-100k-phrases"
# Words of phrases about how a film was received
_RECEPTION = re.compile(
    r"acclaim|receiv|revered|loved|praise|critic|review|panned|reviled|underrated|overlooked|forgotten|obscure"
    r"|award|oscar|academy|nominat|winner|winning|prize|palme|best picture"
    r"|box.office|blockbuster|hit\b|flop|bomb|success|failure|popular|famous"
    r"|classic|cult|landmark|masterpiece|influential|celebrated|poorly|worst",
    re.IGNORECASE,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.phrases``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.phrases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="of the control (default: %(default)s)")
    options = parser.parse_args(arguments)
    source = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"
    target = Path("dataset_atomic", _NAME)
    target.mkdir(parents=True, exist_ok=True)
    for part in ("inter", "user"):
        write_text(target / f"{_NAME}.{part}", (source / f"ml-100k.{part}").read_text("utf-8"))
    items = pd.read_csv(source / "ml-100k.item", sep="\t", dtype=str, keep_default_na=False, quoting=3)
    columns = phrase_columns(items["item_id:token"].tolist(), seed=options.seed)
    for name, values in columns.items():
        items[f"{name}:token"] = values
    lines = ["\t".join(line) for line in [list(items.columns), *items.to_numpy().tolist()]]
    write_text(target / f"{_NAME}.item", "\n".join(lines) + "\n")
    settings = Path("props", "dataset", f"{_NAME}.yaml")
    settings.parent.mkdir(parents=True, exist_ok=True)
    write_text(settings, find_file("dataset/ml-100k.yaml", "property file").read_text("utf-8"))
    left = sum(map(len, columns["phrases_without_reception"])) / sum(map(len, columns["phrases"]))
    print(f"{target}: {len(items):,} films; {left:.0%} of the letters of phrases remain without reception")
    return 0


def phrase_columns(items: Sequence[str], *, seed: int) -> dict[str, list[str]]:
    """The four columns, each with one text per item.

    Args:
        items: Tokens of the films.
        seed: Determines whose phrases a film gets in ``other_phrases``; nobody gets the own ones.
    """
    answers = read_answers(find_knowledge("ml-100k-items"), "item")
    explicit = [list(answers[item].explicit) for item in items]
    every = [[*answers[item].explicit, *answers[item].implicit] for item in items]
    order = np.random.default_rng(seed).permutation(len(items))
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)
    kept = [[phrase for phrase in phrases if not _RECEPTION.search(phrase)] for phrases in every]
    return {
        "phrases": list(map(", ".join, every)),
        "explicit_phrases": list(map(", ".join, explicit)),
        "phrases_without_reception": list(map(", ".join, kept)),
        "other_phrases": [", ".join(every[other]) for other in others],
    }


if __name__ == "__main__":
    raise SystemExit(main())

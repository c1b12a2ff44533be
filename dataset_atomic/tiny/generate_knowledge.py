"""Writes answers about the items of ``tiny``: ``python dataset_atomic/tiny/generate_knowledge.py``.

They stand in for those of a large language model in tests and first steps. As a real model would, they say what
does not stand in the text: the mood that one word of a title implies, on which the clicks of ``tiny`` depend.
"""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

FOLDER = Path(__file__).parent
TARGET = FOLDER.parents[1] / "props" / "knowledge" / "tiny-items.jsonl"
MOODS = {
    "bright": (
        ["Sunny", "Happy", "Golden", "Merry"],
        "A cheerful story for viewers who want to smile.",
        ["feel-good mood", "happy ending", "light-hearted humor", "warm colors", "for a cheerful evening"],
    ),
    "dark": (
        ["Grim", "Haunted", "Bitter", "Silent"],
        "A gloomy story for viewers who like to be unsettled.",
        ["gloomy mood", "tragic ending", "slow-burning dread", "cold colors", "for a lonely night"],
    ),
}


def answer(item: dict[str, str], draw: random.Random) -> dict[str, object]:
    """The answer about a line of ``tiny.item``."""
    word, _, noun = item["title"].partition(" ")
    mood = next(mood for mood, (words, *_) in MOODS.items() if word in words)
    _, reasoning, phrases = MOODS[mood]
    explicit = [f"{word} {noun}", *item["genre"].split(), *filter(None, [item["year"]])]
    return {
        "item_id": item["item_id"],
        "reasoning": reasoning,
        "explicit": explicit,
        "implicit": draw.sample(phrases, 3),
    }


def main() -> None:
    draw = random.Random(7)
    with (FOLDER / "tiny.item").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    names = [column.partition(":")[0] for column in lines[0]]
    items = [dict(zip(names, line, strict=True)) for line in lines[1:]]
    TARGET.parent.mkdir(exist_ok=True)
    with TARGET.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(answer(item, draw), ensure_ascii=False) + "\n" for item in items)


if __name__ == "__main__":
    main()

"""Generated tables of clicks that differ from films: for recipes that were found on MovieLens.

python -m benchmarks.generated shop      numeric features and lists, strong user bias; users and items stay
python -m benchmarks.generated articles  few users with strong bias; new articles all the time, titles tell topics

Writes NAME.csv, NAME-users.csv and NAME-items.csv, and prints the command that makes a data set of them. Labels
are draws from a logistic model of what the tables show and of hidden tastes of users.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["GENERATED", "Tables", "main"]

# Rows, users and items
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]

_TOPICS = {
    "cooking": "soup bread garlic oven recipe dinner sauce baking",
    "football": "goal league striker match coach penalty season derby",
    "gardening": "roses soil compost seeds hedge pruning lawn tulips",
    "astronomy": "comet telescope orbit galaxy lunar probe eclipse star",
    "finance": "bonds interest markets shares inflation pension banks budget",
    "travel": "island train hostel passport harbor hiking border ferry",
    "music": "concert violin chorus album singer melody opera drums",
    "health": "sleep vitamins clinic nurse fever exercise allergy diet",
    "cinema": "director premiere sequel comedy actor screenplay festival drama",
    "computing": "compiler laptop keyboard software network encryption server chip",
}
_FIRST_SECOND, _SECONDS = 1_700_000_000, 60 * 86_400


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the tables into the working directory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generated", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=GENERATED)
    parser.add_argument("--rows", type=int, default=40_000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args(arguments)
    name = options.name
    for part, table in zip(("", "-users", "-items"), GENERATED[name](options.rows, options.seed), strict=True):
        table.to_csv(Path(f"{name}{part}.csv"), index=False)
    lists = " --list='tags=;'" if name == "shop" else ""
    print(
        f"recbole-cp from-table {name}.csv --user=user --item=item --label=click --time=time "
        f"--users={name}-users.csv --items={name}-items.csv{lists} --name={name}"
    )
    return 0


def shop(rows: int, seed: int) -> Tables:
    """Products with prices and tags; users differ in how often they click and what they can afford."""
    rng = np.random.default_rng(seed)
    users, items, tags = max(2, rows // 20), max(2, rows // 60), 40
    age = rng.integers(18, 80, users)
    price = np.round(np.exp(rng.normal(3, 1, items)), 2)
    has = rng.random((items, tags)) < 2.5 / tags
    has[np.arange(items), rng.integers(0, tags, items)] = True
    bias, taste = rng.normal(-0.5, 1.5, users), rng.normal(0, 1, (users, tags))
    user, item = rng.integers(0, users, rows), _skewed(rng, items, rows)
    afford = 0.8 * (np.log(price[item]) - 3) * (1 - (age[user] - 18) / 62)
    logit = bias[user] - afford + (taste[user] * has[item]).sum(1) / np.sqrt(has[item].sum(1))
    tag_names = [";".join(f"tag{tag}" for tag in np.flatnonzero(line)) for line in has]
    brand = [f"brand{number}" for number in rng.integers(0, 25, items)]
    return (
        _rows(rng, user, item, logit),
        pd.DataFrame({"user": _names("u", users), "age": age, "region": rng.choice(["north", "south"], users)}),
        pd.DataFrame({"item": _names("i", items), "price": price, "brand": brand, "tags": tag_names}),
    )


def articles(rows: int, seed: int) -> Tables:
    """Articles that are read for days, and users who like topics, which the titles tell."""
    rng = np.random.default_rng(seed)
    users, items, topics = max(2, rows // 150), max(2, rows // 8), list(_TOPICS)
    topic = rng.integers(0, len(topics), items)
    titles = [" ".join(rng.choice(_TOPICS[topics[number]].split(), 4, replace=False)) for number in topic]
    bias, taste = rng.normal(-0.5, 2, users), rng.normal(0, 1.5, (users, len(topics)))
    user = _skewed(rng, users, rows)
    # Row r shows one of the 2 % of articles that are newest then
    newest = (np.arange(rows) * (items - 1)) // rows
    item = np.maximum(0, newest - rng.integers(0, max(1, items // 50), rows))
    return (
        _rows(rng, user, item, bias[user] + taste[user, topic[item]]),
        pd.DataFrame({"user": _names("u", users), "device": rng.choice(["phone", "desktop"], users)}),
        pd.DataFrame({"item": _names("i", items), "title": titles}),
    )


def _rows(rng: np.random.Generator, user: np.ndarray, item: np.ndarray, logit: np.ndarray) -> pd.DataFrame:
    """The table of rows in chronological order, with labels drawn from the logits."""
    time = _FIRST_SECOND + np.sort(rng.integers(0, _SECONDS, len(user)))
    click = (rng.random(len(user)) < 1 / (1 + np.exp(-logit))).astype(int)
    names = [[f"{letter}{number}" for number in numbers] for letter, numbers in (("u", user), ("i", item))]
    return pd.DataFrame({"user": names[0], "item": names[1], "click": click, "time": time})


def _names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def _skewed(rng: np.random.Generator, count: int, rows: int) -> np.ndarray:
    """Numbers below ``count``, some far more frequent than others."""
    weights = 1 / (np.arange(count) + 10)
    return rng.permutation(count)[rng.choice(count, rows, p=weights / weights.sum())]


GENERATED: dict[str, Callable[[int, int], Tables]] = {"shop": shop, "articles": articles}

if __name__ == "__main__":
    raise SystemExit(main())

"""Small files in the form of each publisher's; no real person, film, book or shop is in them."""

import gzip
import json
import random
import zipfile
from pathlib import Path

GENRES = ["Comedy", "Drama", "Sci-Fi", "Children's", "Film-Noir"]
TITLES = ['"Quoted" Beginnings', "None", "NA", "Garçon, Le", "River::Less"[:5], "Long   Blanks", "null", "A (B) C"]


def ml_1m_rows(seed=0, users=40, movies=60, rows=1200):
    """Distinct (user, movie, rating, time) with ties of time, users and movies."""
    rng = random.Random(seed)
    pairs = rng.sample([(u, m) for u in range(1, users + 1) for m in range(1, movies + 1)], rows)
    return [(u, m, rng.randint(1, 5), 978300000 + rng.randrange(rows // 3)) for u, m in pairs]


def ml_1m(path: Path, rows=None, **changed: bytes) -> Path:
    """``ml-1m.zip``; ``changed`` replaces a file, by its name without ``.dat``."""
    rows = ml_1m_rows() if rows is None else rows
    users = range(1, 41)
    files = {
        "ratings": "".join(f"{u}::{m}::{r}::{t}\n" for u, m, r, t in rows).encode(),
        "users": "".join(
            f"{u}::{'FM'[u % 2]}::{[1, 18, 25][u % 3]}::{u % 21}::{10000 + u % 7}\n" for u in users
        ).encode(),
        "movies": "".join(
            f"{m}::{TITLES[m % len(TITLES)]} ({1950 + m % 50})::{'|'.join(GENRES[m % 3 :][: 1 + m % 2])}\n"
            for m in range(1, 61)
        ).encode("latin-1"),
        **changed,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-1m/README", "made up")
        for name, content in files.items():
            archive.writestr(f"ml-1m/{name}.dat", content)
    return path


def json_lines(path: Path, rows) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path


KDD2012_FILES = (
    "training.txt", "userid_profile.txt", "queryid_tokensid.txt", "purchasedkeywordid_tokensid.txt",
    "titleid_tokensid.txt", "descriptionid_tokensid.txt",
)  # fmt: skip


def kdd2012(folder: Path, rows=6000, users=600, seed=3) -> Path:
    """The six files of KDD Cup 2012 track 2. A fifth of the rows has user 0, and 90 % of the tokens are known.

    A click is likelier where the first word of the title is even, which only the tokens tell.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"query": (400, 3), "purchasedkeyword": (90, 2), "title": (40, 5), "description": (150, 9)}
    words = {
        name: [[rng.randrange(30 * (n + 1)) for n in range(rng.randint(1, most))] for _ in range(number)]
        for name, (number, most) in sizes.items()
    }
    lines = []
    for _ in range(rows):
        ad = int(120 * rng.random() ** 2)
        ids = {name: rng.randrange(number) for name, (number, _) in sizes.items()}
        ids["title"] = (ad * 3 + rng.randrange(2)) % sizes["title"][0]  # an ad has several titles
        depth = rng.randint(1, 3)
        impressions = 1 if rng.random() < 0.8 else rng.randint(2, 9)
        rate = 0.7 if words["title"][ids["title"]][0] % 2 == 0 else 0.05
        clicks = sum(rng.random() < rate for _ in range(impressions))
        user = 0 if rng.random() < 0.2 else rng.randint(1, users)
        url = 4298118681424644510 + 10**19 * (ad % 2) + ad  # some need 64 bits
        lines.append(
            [
                clicks,
                impressions,
                url,
                20000000 + ad,
                1000 + ad % 17,
                depth,
                rng.randint(1, depth),
                *ids.values(),
                user,
            ]
        )
    tables = {
        "training": lines,
        "userid_profile": [[n, n % 3, 1 + n % 6] for n in range(1, users + 1) if n % 10],
        **{
            f"{name}id_tokensid": [[n, "|".join(map(str, text))] for n, text in enumerate(texts) if n % 10]
            for name, texts in words.items()
        },
    }
    for name, table in tables.items():
        (folder / f"{name}.txt").write_text("".join("\t".join(map(str, line)) + "\n" for line in table))
    return folder

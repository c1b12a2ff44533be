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

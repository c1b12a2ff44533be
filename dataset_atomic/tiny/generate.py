"""Writes the generated data set ``tiny``: ``python dataset_atomic/tiny/generate.py``. No real person or film.

It is small, but holds what real atomic files hold: a numeric field, a multi-valued one, missing values, quotes
and accents, ratings of 3, and times that float32 cannot tell apart. Whether a user likes a film depends on the
film's mood, which one word of its title tells, and on the user's taste, which hangs on the user's job.
"""

from __future__ import annotations

import random
from pathlib import Path

FOLDER = Path(__file__).parent
MOODS = {
    "bright": ["Sunny", "Happy", "Golden", "Merry"],
    "dark": ["Grim", "Haunted", "Bitter", "Silent"],
}
NOUNS = ["River", "Garden", "O'Hara's Café", 'House "B"', "Mountain", "Road", "Summer, The", "Tale (Part 2)"]
JOBS = {"painter": "bright", "baker": "bright", "miner": "dark", "poet": "dark"}
GENRES = ["Comedy", "Drama", "Thriller", "Sci-Fi"]
USERS, ITEMS, ROWS = 60, 64, 1500


def write(name: str, header: list[str], rows: list[list[object]]) -> None:
    with (FOLDER / name).open("w", encoding="utf-8", newline="") as stream:
        stream.writelines("\t".join(map(str, row)) + "\n" for row in [header, *rows])


def main() -> None:
    draw = random.Random(7)
    jobs = [draw.choice(list(JOBS)) for _ in range(USERS)]
    moods = [draw.choice(list(MOODS)) for _ in range(ITEMS)]
    users = [
        [f"u{user}", draw.choice("FM") if user % 9 else "", draw.choice(["18", "25", "35"]), jobs[user]]
        for user in range(USERS)
    ]
    items = [
        [
            f"i{item}",
            f"{draw.choice(MOODS[moods[item]])} {draw.choice(NOUNS)}",
            draw.randint(1950, 2000) if item % 8 else "",
            " ".join(draw.sample(GENRES, draw.randint(1, 3))) if item % 10 else "",
        ]
        for item in range(ITEMS)
    ]
    rows = []
    pairs = draw.sample([(user, item) for user in range(USERS) for item in range(ITEMS)], ROWS)
    for step, (user, item) in enumerate(pairs):
        liked = JOBS[jobs[user]] == moods[item]
        rating = draw.choices([1, 2, 3, 4, 5], weights=[1, 2, 2, 5, 6] if liked else [5, 4, 2, 2, 1])[0]
        # seconds apart, where float32 steps by 64 at these times
        rows.append([f"u{user}", f"i{item}", rating, 1_000_000_000 + 3 * step, draw.choice(["phone", "tablet"])])
    draw.shuffle(rows)
    write(
        "tiny.inter",
        ["user_id:token", "item_id:token", "rating:float", "timestamp:float", "device:token"],
        rows,
    )
    write("tiny.user", ["user_id:token", "gender:token", "age:token", "job:token"], users)
    write("tiny.item", ["item_id:token", "title:token_seq", "year:float", "genre:token_seq"], items)


if __name__ == "__main__":
    main()

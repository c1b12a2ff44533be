"""Tables of one's own: ``from-table``, and rows to score with ``predict``."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from random import Random

import pandas as pd
import pyarrow.parquet as pq

from tests.fuzz.case import Attempt, Case, Judge
from tests.fuzz.cases.common import edit_lines, edit_parquet, read_cells
from tests.fuzz.sandbox import Answer


class UserTable(Case):
    """All rows are read and written, with the ids that the file holds."""

    name = "from-table tables"
    weight = 3
    outputs = ("props",)

    def attempt(self, rng: Random) -> Attempt:
        path, separator = rng.choice(
            [(Path("table.csv"), ","), (Path("table.tsv"), "\t"), (Path("table.parquet"), "")]
        )
        what = edit_lines(path, separator, rng) if separator else edit_parquet(path, rng)
        command = [
            "from-table",
            str(path),
            "--user=user_id",
            "--item=item_id",
            "--label=liked",
            "--name=new",
            "--out=out",
        ]
        command += rng.choice([["--time=when"], [], ["--time=when", "--drop-missing"]])
        command += rng.choice([[], [], ["--drop=n", "--text-only=price"], ["--list=device=e"]])
        return Attempt(what, command, lambda answer: self._judge(answer, path, separator))

    def _judge(self, answer: Answer, path: Path, separator: str) -> str:
        counts = re.search(r"rows: ([\d,]+) read, ([\d,]+) written", answer.out)
        if not counts:
            return "no line says how many rows were read"
        read, written = (int(count.replace(",", "")) for count in counts.groups())
        if read != written and "dropped" not in answer.out:
            return f"{read - written} rows are missing and no line says so"
        with Path("out/new/new.inter").open(encoding="utf-8", newline="") as stream:
            found = [line.split("\t") for line in stream.read().split("\n")[1:] if line]
        if len(found) != written:
            return f"{written} rows are said to be written, the file has {len(found)}"
        if separator:
            cells = read_cells(path, separator)
            if cells is None:
                return ""
            table = pd.DataFrame(cells[1:], columns=cells[0])
        else:
            table = pq.read_table(path).replace_schema_metadata(None).to_pandas()  # that of pandas may be damaged
            truth = table.select_dtypes(bool).columns
            table = table.astype(str)
            table[truth] = table[truth].apply(lambda column: column.str.lower())  # as polars writes them
        if len(table) != read:
            return f"{read} rows were read of {len(table)}"
        if read == written:
            expected = Counter(zip(table["user_id"].str.strip(), table["item_id"].str.strip(), strict=True))
            lost = expected - Counter((line[0], line[1]) for line in found)
            if lost and "note:" not in answer.out:
                return f"pairs of user and item are not in the file that was written: {list(lost)[:3]}"
        return ""


class RowsToScore(Case):
    """One score per row, in order, and that of an unchanged row is unchanged."""

    name = "rows to score"
    weight = 3

    def attempt(self, rng: Random) -> Attempt:
        name, separator = rng.choice([("rows.csv", ","), ("rows.tsv.gz", "\t"), ("rows.parquet", "")])
        path, original = Path(name), Path("rows.csv").read_bytes()
        what = edit_lines(path, separator, rng) if separator else edit_parquet(path, rng)
        command = ["predict", rng.choice(["saved/plain", "saved/plain.pth"]), name, "--keep=n", "--output=out.csv"]
        return Attempt(what, command, judge_scores(path, separator, original))

    outputs = ("out.csv",)


def judge_scores(path: Path, separator: str, original: bytes) -> Judge:
    """The judge of scores in ``out.csv`` for the rows of a file; ``original`` are the unmutated rows as csv."""
    known = {row[0]: row for row in csv.reader(original.decode().splitlines())}

    def judge(answer: Answer) -> str:
        scores = pd.read_csv("out.csv", dtype={"score": float}, keep_default_na=False)
        if not scores["score"].between(0, 1).all():
            return "a score is no number from 0 to 1"
        said = re.search(r"([\d,]+) rows scored", answer.out)
        if not said or int(said[1].replace(",", "")) != len(scores):
            return f"{len(scores)} scores were written, and the output says {said and said[1]}"
        if not separator:
            return "" if pq.read_metadata(path).num_rows == len(scores) else "not one score per row"
        cells = read_cells(path, separator)
        if cells is None:
            return ""
        if len(cells) - 1 != len(scores):
            return f"{len(scores)} scores for {len(cells) - 1} rows"
        if cells[0] != known["n"]:
            return ""
        if [row[0] for row in cells[1:]] != scores["n"].astype(str).tolist():
            return "the rows of the output are not those of the input"
        expected = expected_scores()
        for row, score in zip(cells[1:], scores["score"], strict=True):
            if row == known.get(row[0]) and abs(score - expected[row[0]]) > 1e-6:
                return f"row {row[0]} is unchanged and its score is {score}, not {expected[row[0]]}"
        return ""

    return judge


def expected_scores() -> dict[str, float]:
    """The scores of the unmutated rows by ``saved/plain``, which the material holds."""
    table = pd.read_csv("scores-plain.csv", keep_default_na=False)
    return dict(zip(table["n"], table["score"], strict=True))

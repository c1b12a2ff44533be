"""Finished runs: result tables and run folders, through the commands that read them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pandas as pd
from sklearn.metrics import roc_auc_score

from tests.fuzz.case import Attempt, Case
from tests.fuzz.cases.common import edit_json, edit_lines, edit_parquet
from tests.fuzz.sandbox import Answer


class ResultTable(Case):
    """Rows are kept; none of an unchanged line runs again."""

    name = "result tables"
    weight = 3
    outputs = ("results", "saved")

    def attempt(self, rng: Random) -> Attempt:
        command, path = rng.choice(
            [
                (["grid", "grid.yaml"], Path("results/grid-mini.csv")),
                (["tune", "tuning.yaml"], Path("results/tuning-mini.csv")),
                (["long-tail", "results/grid-mini.csv", "--samples=20"], Path("results/grid-mini.csv")),
                (["report", "saved/plain", "--latency=latency.csv", "--samples=20"], Path("latency.csv")),
            ]
        )
        before = path.read_bytes().splitlines()
        what = edit_lines(path, ",", rng)
        mutated = path.read_bytes()
        if command[0] == "report":
            command.append("--out=out/page.html")
        return Attempt(what, command, lambda answer: self._judge(answer, path, before, mutated))

    def _judge(self, answer: Answer, path: Path, before: list[bytes], mutated: bytes) -> str:
        if path.name == "latency.csv":
            return ""
        whole = all(line in mutated.splitlines() for line in before)
        again = len(re.findall(r"^(?:grid: run|tune: trial) .*:", answer.out, re.MULTILINE))
        if whole and again and mutated.splitlines()[:1] == before[:1]:
            return f"all rows are there and {again} ran again"
        old = pd.read_csv(pd.io.common.BytesIO(mutated), dtype=str, keep_default_na=False)
        new = pd.read_csv(path, dtype=str, keep_default_na=False)
        if len(new) < len(old):
            return f"the table had {len(old)} rows and has {len(new)}"
        return ""


class RunFolder(Case):
    """What is printed is what the files hold, measured here once more."""

    name = "run folders"
    weight = 4

    def attempt(self, rng: Random) -> Attempt:
        folder = Path("saved/text")
        name = rng.choice(["run.json", "run.json", "predictions.parquet", "predictions.parquet",
        "train_counts.parquet",
                           "history.jsonl"])  # fmt: skip
        path = folder / name
        if name == "run.json":
            what, _ = edit_json(path, rng)
        else:
            what = edit_parquet(path, rng) if path.suffix == ".parquet" else self._edit_history(path, rng)
        short = ["--samples=20"]
        commands = [
            ["metrics", "saved/text", *short],
            ["metrics", "saved/plain", "saved/text.pth", "--baseline=saved/plain", *short],
            ["long-tail", "saved/text", *short],
            ["long-tail", "saved/plain", "saved/text", "--bins=0,2,inf", *short],
            ["report", "saved/text", "saved/plain", "--out=out/page.html", *short],
        ]
        command = rng.choice(commands[4:] if name == "history.jsonl" else commands)
        if name == "train_counts.parquet":
            command = rng.choice(commands[2:])
        return Attempt(what, command, lambda answer: self._judge(answer, command, name))

    def _edit_history(self, path: Path, rng: Random) -> str:
        lines = path.read_text(encoding="utf-8").splitlines()
        if rng.random() < 0.3:
            return edit_lines(path, " ", rng)
        single = path.with_name("line.json")
        at = rng.randrange(len(lines))
        single.write_text(lines[at])
        what, _ = edit_json(single, rng)
        lines[at] = single.read_bytes().decode("utf-8", "surrogateescape")
        single.unlink()
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape") + b"\n")
        return f"history.jsonl, line {at + 1}: {what}"

    def _judge(self, answer: Answer, command: list[str], name: str) -> str:
        if name == "history.jsonl":
            return self._judge_history(answer)
        if command[0] != "metrics" or name == "train_counts.parquet":
            return ""
        table = pd.read_parquet("saved/text/predictions.parquet")
        test = table[table["split"] == "test"]
        rows = [line.split(" | ") for line in answer.out.splitlines() if f"| {len(test):,} |" in line]
        if not rows:
            return f"no printed line has {len(test):,} rows"
        auc = f"{roc_auc_score(test['label'], test['score']):.4f}"
        return (
            "" if any(row[2].startswith(auc) for row in rows) else f"the AUC is {auc} and none is printed: {rows}"
        )

    def _judge_history(self, answer: Answer) -> str:
        broken = 0
        for line in Path("saved/text/history.jsonl").read_bytes().splitlines():
            try:
                broken += not isinstance(json.loads(line), dict) if line.strip() else 0
            except (ValueError, RecursionError):
                broken += 1
        return f"{broken} damaged lines and no warning" if broken and "damaged" not in answer.err else ""

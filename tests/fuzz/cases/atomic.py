"""Atomic files: whole ones and those of a ready-made split, through the sentences that ``show`` prints."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz.case import Attempt, Case
from tests.fuzz.cases.common import edit_lines
from tests.fuzz.sandbox import Answer

SHOW = ["show", "--config_files=small.yaml", "--model=ClickPrompt", "--rows=100000"]


class AtomicFile(Case):
    """Changed lines change their own rows alone, and rows that are left out are reported."""

    name = "atomic files"
    weight = 4

    def attempt(self, rng: Random) -> Attempt:
        folder, command = Path("data/mini"), SHOW
        if rng.random() < 0.3:
            folder = Path("data/parts")
            command = [*SHOW, "--dataset=parts", "--benchmark_filename=[train, valid, test]"]
        path = rng.choice(sorted(folder.iterdir()))
        before = path.read_bytes()
        what = edit_lines(path, "\t", rng)
        if rng.random() < 0.1:
            command = [*command, rng.choice(["--quoting=csv", "--drop_missing=True"])]
        rows = sum(len(file.read_bytes().splitlines()) - 1 for file in folder.glob("*.inter"))
        return Attempt(what, command, lambda answer: self._judge(answer, path, before, rows))

    def _judge(self, answer: Answer, path: Path, before: bytes, rows: int) -> str:
        after = path.read_bytes()
        old, new = Counter(before.splitlines()), Counter(after.removeprefix(b"\xef\xbb\xbf").splitlines())
        changed = [line for line in (*(old - new).elements(), *(new - old).elements()) if line]
        if before.splitlines()[:1] != after.removeprefix(b"\xef\xbb\xbf").splitlines()[:1]:
            return "" if "WARNING" in answer.err or answer.out else "nothing is shown"
        name = "parts" if path.parent.name == "parts" else "mini"
        shown, expected = (
            Counter(answer.out.splitlines()),
            Counter(Path(f"shown-{name}.txt").read_text().splitlines()),
        )
        differing = (shown - expected).total() + (expected - shown).total()
        if path.suffix == ".inter":
            allowed = 2 * len(changed) + 2
        else:
            keys = {line.split(b"\t")[0] for line in changed}
            column = 0 if path.suffix == ".user" else 1
            files = (file for file in path.parent.glob("*.inter"))
            allowed = 2 * sum(
                line.split(b"\t")[column] in keys for file in files for line in file.read_bytes().splitlines()
            )
        if differing > allowed and "WARNING" not in answer.err:
            return f"{differing} of {rows} rows read otherwise, where {len(changed)} lines were changed"
        return ""

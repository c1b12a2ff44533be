"""Runs cases, each in a process of its own, and sorts what they came to."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.case import Case, Judge, changed_files, hashes
from tests.fuzz.sandbox import WALL_SECONDS, Answer, call, fork, import_modules

KINDS = ("exit 0", "exit 2", "traceback", "hang", "crash", "change", "message")
FAILURES = KINDS[2:]
_LONGEST_MESSAGE = 2000  # characters
_ERROR = re.compile(r"^(?:recbole-cp[\w -]*: )?error: ", re.MULTILINE)
_FRAME = re.compile(r'File "[^"]*?((?:recbole_clickprompt|recbole|tests/fuzz)/[^"]+)", line (\d+), in (\S+)')


@dataclass
class Verdict:
    """What one mutation came to.

    Attributes:
        number: Of the mutation, with the seed all that is needed to repeat it.
        case: The file type.
        kind: One of ``KINDS``.
        what: The mutation.
        command: What was called.
        detail: What is wrong, if anything is.
        place: The last line of this package in a traceback.
        modules: Modules that the call imported.
    """

    number: int
    case: str
    kind: str
    what: str = ""
    command: str = ""
    detail: str = ""
    place: str = ""
    modules: tuple[str, ...] = ()
    seconds: float = 0.0  # of the processor


def fuzz(
    cases: Sequence[Case], material: Path, *, numbers: Sequence[int], seed: int, jobs: int, results: Path
) -> list[Verdict]:
    """Runs mutations; the input of each that fails is kept.

    Args:
        cases: The file types.
        material: A folder of valid inputs.
        numbers: The mutations to run.
        seed: Of all of them.
        jobs: Processes at once.
        results: Folder for what failed, by number.
    """
    waiting, running, verdicts = list(reversed(numbers)), {}, []
    while waiting or running:
        while waiting and len(running) < jobs:
            number = waiting.pop()
            case, folder = _case(cases, seed, number), results / f"{number:06d}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            work = _Work(case, material, folder, number, seed)
            running[fork(work, folder / "fuzzer-error.txt")] = work, time.monotonic()
        for child, (work, start) in list(running.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            hung = not done and time.monotonic() - start > WALL_SECONDS
            if hung:
                os.killpg(child, signal.SIGKILL)
                status = os.waitpid(child, 0)[1]
            if done or hung:
                del running[child]
                verdict = work.verdict(os.waitstatus_to_exitcode(status))
                import_modules(verdict.modules)
                verdicts.append(verdict)
        time.sleep(0.002)
    return sorted(verdicts, key=lambda verdict: verdict.number)


def _case(cases: Sequence[Case], seed: int, number: int) -> Case:
    return Random(f"{seed}/{number}").choices(cases, [case.weight for case in cases])[0]


@dataclass
class _Work:
    """One mutation: in the child makes it and calls the command, in the parent reads what came of it."""

    case: Case
    material: Path
    folder: Path
    number: int
    seed: int

    def __call__(self) -> None:
        before_modules = set(sys.modules)
        files = self.folder / "files"
        shutil.copytree(self.material, files)
        os.chdir(files)
        attempt = self.case.attempt(Random(f"{self.seed}/{self.number}/{self.case.name}"))
        # Arguments may hold bytes that are no UTF-8
        line = shlex.join(["recbole-cp", *attempt.command]).encode("utf-8", "backslashreplace").decode()
        variables = "".join(f"{name}={shlex.quote(value)} " for name, value in attempt.environment.items())
        verdict = Verdict(self.number, self.case.name, "crash", attempt.what, variables + line)
        self._save(verdict)
        outputs = (*self.case.outputs, *(attempt.outputs or ()))
        before = hashes(Path(), outputs)
        answer = call(attempt.command, self.folder, attempt.environment)
        os.chdir(files)
        verdict.kind, verdict.detail = _sorted(answer)
        changed = changed_files(before, hashes(Path(), outputs), may_add=attempt.outputs is None)
        if verdict.kind in ("exit 0", "exit 2") and changed:
            verdict.kind, verdict.detail = "change", changed
        if verdict.kind == "exit 0" and (objection := _objection(attempt.judge, answer)):
            verdict.kind, verdict.detail = "change", objection
        if answer.failure:
            (self.folder / "traceback.txt").write_text(answer.failure, encoding="utf-8")
        if verdict.kind == "traceback":
            verdict.place = _place(answer.failure or answer.err)
        verdict.modules = tuple(sorted(set(sys.modules) - before_modules))
        verdict.seconds = sum(os.times()[:2])
        self._save(verdict)

    def verdict(self, code: int) -> Verdict:
        """In the parent: what the child wrote before it ended with this code."""
        path, error = self.folder / "verdict.json", self.folder / "fuzzer-error.txt"
        verdict = Verdict(self.number, self.case.name, "crash")
        if path.is_file():
            verdict = Verdict(**json.loads(path.read_text(encoding="utf-8")))
        if error.is_file():
            verdict.kind, verdict.detail = (
                "crash",
                f"the fuzzer itself failed: {error.read_text(encoding='utf-8')[-300:]}",
            )
        elif code:
            hung = code in (-signal.SIGKILL, -signal.SIGXCPU)
            verdict.kind, verdict.detail = ("hang" if hung else "crash"), f"the process ended with {code}"
        if verdict.kind in FAILURES:
            self._explain(verdict)
        else:
            shutil.rmtree(self.folder)
        return verdict

    def _save(self, verdict: Verdict) -> None:
        (self.folder / "verdict.json").write_text(json.dumps(asdict(verdict)), encoding="utf-8")

    def _explain(self, verdict: Verdict) -> None:
        (self.folder / "verdict.json").unlink(missing_ok=True)
        (self.folder / "reproduce.txt").write_text(
            f"{verdict.kind}: {verdict.detail}\n{verdict.case}: {verdict.what}\n\n"
            f"cd {self.folder}/files\n{verdict.command}\n\n"
            f"or from the mutation on: python -m tests.fuzz --seed={self.seed} --only={self.number}\n",
            encoding="utf-8",
        )


def _objection(judge: Judge, answer: Answer) -> str:
    try:
        return judge(answer)
    except Exception as error:  # an input that the package takes and the judge's own reader does not
        return f"the judge cannot read it: {error!r}"


def _sorted(answer: Answer) -> tuple[str, str]:
    """The kind of an answer, before a judge has seen it, and what is wrong with it."""
    if answer.failure or "Traceback (most recent call last)" in answer.err + answer.out:
        lines = (answer.failure or answer.err).strip().splitlines()
        return "traceback", lines[-1][:300] if lines else ""
    if answer.code == 0:
        return "exit 0", ""
    messages = _ERROR.findall(answer.err)
    last = (answer.err.strip().splitlines() or [""])[-1]
    if answer.code != 2:
        return "message", f"exit code {answer.code}: {last[:300]}"
    if len(messages) != 1 or not _ERROR.match(last):
        return "message", f"{len(messages)} error lines, the last line is {last[:300]!r}"
    if len(last) > _LONGEST_MESSAGE:
        return "message", f"a message of {len(last):,} characters: {last[:200]}"
    return "exit 2", ""


def _place(text: str) -> str:
    frames = [frame for frame in _FRAME.findall(text) if not frame[0].startswith("tests/")]
    own = [frame for frame in frames if frame[0].startswith("recbole_clickprompt/")]
    return "{}:{} {}".format(*own[-1]) if own else "elsewhere"


def table(verdicts: Sequence[Verdict]) -> str:
    """A row per file type: its mutations by what they came to."""
    names = sorted({verdict.case for verdict in verdicts})
    width = max(map(len, [*names, "file type"]))
    lines = [f"{'file type':<{width}} {'mutations':>10}" + "".join(f"{kind:>11}" for kind in KINDS) + "    CPU s"]
    for name in [*names, "all"]:
        rows = [verdict.kind for verdict in verdicts if name in (verdict.case, "all")]
        seconds = sum(verdict.seconds for verdict in verdicts if name in (verdict.case, "all"))
        counts = "".join(f"{rows.count(kind):>11,}" for kind in KINDS)
        lines.append(f"{name:<{width}} {len(rows):>10,}{counts}{seconds:>9,.0f}")
    return "\n".join(lines)


def failures(verdicts: Sequence[Verdict]) -> str:
    """The mutations that failed, those with one cause together."""
    causes: dict[Any, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.kind in FAILURES:
            cause = verdict.place or re.sub(r"[\d.]+|'[^']*'", "*", verdict.detail)[:80]
            causes.setdefault((verdict.kind, cause, verdict.detail.split(":")[0][:40]), []).append(verdict)
    lines = []
    for (kind, cause, _), found in sorted(causes.items(), key=lambda item: -len(item[1])):
        first = found[0]
        lines.append(f"{len(found)} x {kind}, {cause}: {first.detail[:200]}")
        lines += [f"    {v.number}, {v.case}: {v.what[:110]}" for v in found[:3]]
    return "\n".join(lines)

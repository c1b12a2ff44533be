"""Ask a large language model what it knows about the items or users of a data set.

Answers go to --out, a file of JSON lines that later runs of this command continue: nothing that was answered is
asked or lost again. --teacher is a file of answers (replay:FILE, or the name of a shipped file), a model on this
machine (local:ID, such as local:smollm2) or a server with OpenAI's interface (http:URL). At the end a table shows
what was asked, parsed and spent by stratum.

Other --key=value arguments are settings of the data set, as for `run`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.options import parse_run
from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    from recbole_clickprompt.knowledge.examples import Examples
    from recbole_clickprompt.knowledge.prompts import Subject
    from recbole_clickprompt.knowledge.teachers.base import Teacher

__all__ = ["add_arguments", "execute"]

_MODEL = "DCNV2"  # a model that needs no text
_KINDS = ("replay", "local", "http")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, the teacher, what is asked, and where answers go."""
    parser.add_argument("--dataset", "-d", required=True, help="the data set")
    parser.add_argument(
        "--config_files", default="", help="your property files, or names of shipped ones, separated by spaces"
    )
    parser.add_argument("--teacher", required=True, metavar="KIND:NAME", help="replay:FILE, local:ID or http:URL")
    parser.add_argument("--out", required=True, metavar="FILE", help="file of answers (.jsonl)")
    parser.add_argument(
        "--level", choices=("items", "users"), default="items", help="what is asked about (default: %(default)s)"
    )
    parser.add_argument(
        "--references", metavar="FILE",
        help="answers written by hand, or the name of a shipped file; required for local: and http:",
    )  # fmt: skip
    parser.add_argument(
        "--example", choices=("nearest", "category", "random", "none"), default="nearest",
        help="the reference that a prompt shows: of the nearest text, of the same category, any, or none "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--encoder", default="minilm", help="PLM whose vectors decide what is nearest")
    parser.add_argument("--sample", type=int, metavar="N", help="ask about N of them only (default: about all)")
    parser.add_argument("--strata", metavar="FIELD", help="field whose first value is the stratum in sampling")
    parser.add_argument(
        "--weight", choices=("rows", "clicks", "ctr", "none"), default="rows",
        help="statistic of training rows that weights in sampling grow with (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--answer-tokens", type=int, default=160, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--max-tokens", type=int, metavar="N", help="start no further question once this run has used N tokens"
    )
    parser.add_argument("--dry-run", action="store_true", help="print prompts and expected costs, and ask nothing")
    parser.add_argument("--rate", type=float, help="answers per second that --dry-run expects")
    server = parser.add_argument_group("servers")
    server.add_argument("--teacher-model", metavar="NAME", help="model of the server (default: its only one)")
    server.add_argument(
        "--api-key-variable",
        metavar="NAME",
        help="environment variable with the API key (default: no key is sent)",
    )
    server.add_argument("--concurrent", type=int, default=8, help="questions at a time (default: %(default)s)")
    server.add_argument("--timeout", type=float, default=60.0, help="seconds per attempt (default: %(default)s)")
    server.add_argument("--retries", type=int, default=4, help="further attempts (default: %(default)s)")
    server.add_argument("--schema", action="store_true", help="ask for JSON of a schema instead of three lines")
    server.add_argument("--send-user-data", action="store_true", help="allow --level=users with http:")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Asks, and prints the table; with ``--dry-run`` prints what would be asked.

    Raises:
        SettingError: An argument or setting is invalid.
        DataError: The data set, the references or an answer file cannot be used, or the teacher cannot answer, or
            has no valid answer.
        WeightsError: The model cannot be loaded.
        SystemExit: With 130 after Ctrl-C and 143 after SIGTERM, once what was answered is stored.
    """
    kind, name = _check(options)
    options.out = Path(options.out)
    # Not imported above: they take seconds
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    from recbole_clickprompt.commands.teach_report import check_any_valid, dry_run, ended, summary
    from recbole_clickprompt.host.knowledge_subjects import subjects_of
    from recbole_clickprompt.knowledge.answer_file import AnswerFile
    from recbole_clickprompt.knowledge.sampling import sample

    described = parse_run(argparse.Namespace(**vars(options), model=None), settings, model=_MODEL)
    config = Config(
        described.model, described.dataset, described.config_files, {**described.settings, "state": "error"}
    )
    training = data_preparation(config, create_dataset(config))[0]._dataset
    known = subjects_of(training, options.level.removesuffix("s"), strata=options.strata, statistic=options.weight)
    subjects = sample(known, options.sample, seed=config["seed"])
    teacher = _teacher(kind, name, options, config)
    examples = _examples(kind, options, known, config)
    if options.dry_run:
        print(dry_run(teacher, examples, subjects, out=options.out, rate=options.rate))
        return
    with AnswerFile(options.out) as file:
        before = len(file.records)
        try:
            with _ended_by_signals():
                left = _ask(teacher, examples, subjects, file, options)
        except KeyboardInterrupt as interruption:
            print(ended(file, subjects), file=sys.stderr)
            raise SystemExit(143 if interruption.args == (signal.SIGTERM,) else 130) from None
        print(summary(file, subjects, left=left))
        check_any_valid(file, subjects, before=before)


def _ask(
    teacher: Teacher, examples: Examples, subjects: Sequence[Subject], file: Any, options: argparse.Namespace
) -> int:
    """Asks about the subjects; returns how many ``--max-tokens`` left."""
    from recbole_clickprompt.commands.teach_progress import Progress
    from recbole_clickprompt.knowledge.teaching import Lesson

    progress = Progress()
    lesson = Lesson(teacher, examples, subjects, file, max_tokens=options.max_tokens, answered=progress.advance)
    progress.begin(len(lesson.unfinished), done=len(subjects) - len(lesson.unfinished))
    try:
        lesson.run()
    finally:
        progress.end()
    return len(lesson.unfinished) if lesson.stopped else 0


def _check(options: argparse.Namespace) -> tuple[str, str]:
    """Kind and name of the teacher, after the checks that need no data."""
    kind, colon, name = options.teacher.partition(":")
    if options.teacher.startswith(("http://", "https://")):  # the address itself, without a word before it
        kind, name = "http", options.teacher
    if kind not in _KINDS or not colon or not name:
        raise SettingError(
            f"--teacher must be replay:FILE, local:ID or http:URL, got {_shown(options.teacher)!r:.120}"
        )
    if not options.out or (os.path.exists(options.out) and not os.path.isfile(options.out)):
        raise SettingError(f"--out must be a file, such as knowledge.jsonl, got {options.out!r:.200}")
    if kind == "http" and options.level == "users" and not options.send_user_data:
        raise SettingError(
            "--level=users would send user profiles to a server; allow it with --send-user-data, or use a teacher "
            "of local: or replay:"
        )
    if kind != "replay" and options.references is None and options.example != "none":
        raise SettingError(
            f"--teacher={kind}: needs --references, 8 to 32 answers written by hand; they show the model what is "
            "asked for. --example=none asks without"
        )
    check_minimum(options, 1, "sample", "max_tokens", "concurrent", "answer_tokens")
    check_minimum(options, 0, "retries")
    for option in ("rate", "timeout"):
        value = getattr(options, option)
        if value is not None and not 0 < value < float("inf"):
            raise SettingError(f"--{option} must be a number above 0, got {value}")
    from recbole_clickprompt.knowledge.embedded import find_knowledge

    if options.references is not None:
        find_knowledge(options.references)
    if kind == "replay":
        file = find_knowledge(name)
        if os.path.exists(options.out) and os.path.samefile(file, options.out):
            raise SettingError(f"--out is the file that is replayed, {options.out}; choose another one")
        name = str(file)
    return kind, name


def _shown(address: str) -> str:
    """An address without the parts that may hold a secret."""
    return f"{address.partition(':')[0]}:..." if set("@?#") & set(address) else address


def _teacher(kind: str, name: str, options: argparse.Namespace, config: Any) -> Teacher:
    if kind == "replay":
        from recbole_clickprompt.knowledge.teachers.replay import ReplayTeacher

        return ReplayTeacher(Path(name))
    if kind == "local":
        from recbole_clickprompt.knowledge.teachers.local import LocalTeacher

        return LocalTeacher(name, device=config["device"], answer_tokens=options.answer_tokens)
    from recbole_clickprompt.knowledge.teachers.http import HttpTeacher

    return HttpTeacher(
        name,
        model=options.teacher_model,
        key_variable=options.api_key_variable,
        concurrent=options.concurrent,
        timeout=options.timeout,
        retries=options.retries,
        answer_tokens=options.answer_tokens,
        use_schema=options.schema,
    )


def _examples(kind: str, options: argparse.Namespace, known: Sequence[Subject], config: Any) -> Examples:
    """The references, which a replay does not read."""
    from recbole_clickprompt.knowledge.embedded import find_knowledge
    from recbole_clickprompt.knowledge.examples import Examples, read_references

    if kind == "replay" or options.example == "none":
        return Examples("none", [], seed=config["seed"], encode=None)
    references = read_references(find_knowledge(options.references), options.level.removesuffix("s"), known)
    encode = None
    if options.example == "nearest":
        from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder

        encode = SentenceEncoder(options.encoder, device=config["device"])
    return Examples(options.example, references, seed=config["seed"], encode=encode)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, which a library may have redefined."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number))

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

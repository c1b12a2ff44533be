"""Measure a local teacher: answers in batches, compared with ``generate`` called for each question.

    python -m benchmarks.teacher

Both answer the same questions about generated items and write equally many tokens for each, greedily. Times are
CPU seconds on a CPU, which other processes on the machine affect less, and else seconds.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.errors import SettingError, UserError

if TYPE_CHECKING:
    from recbole_clickprompt.knowledge.prompts import Prompt
    from recbole_clickprompt.knowledge.teachers.base import Reply
    from recbole_clickprompt.knowledge.teachers.local import LocalTeacher

__all__ = ["main"]

_WORDS = ["river", "garden", "mountain", "summer", "tale", "golden", "silent", "haunted", "house", "letter"]
_GENRES = ["Comedy", "Drama", "Thriller", "Children's", "Film-Noir"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.teacher``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.teacher", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--teacher", default="smollm2", help="the model (default: %(default)s)")
    parser.add_argument("--answers", type=int, default=32, help="questions (default: %(default)s)")
    parser.add_argument("--answer-tokens", type=int, default=160, help="longest answer (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        check_minimum(options, 1, "answers", "answer_tokens", "threads")
        _compare(options)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _compare(options: argparse.Namespace) -> None:
    import torch

    from recbole_clickprompt.knowledge.teachers.local import LocalTeacher

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SettingError("--device=cuda: torch finds no GPU here; leave it out or use cpu")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    teacher = LocalTeacher(options.teacher, device=options.device, answer_tokens=options.answer_tokens)
    prompts = _prompts(options.answers)
    _answers(teacher, prompts[:1])  # warm-up
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    batched, replies = _timed(lambda: _answers(teacher, prompts), clock)
    single, _ = _timed(lambda: [_generate(teacher, reply) for reply in replies], clock)
    tokens = sum(reply.tokens_out or 0 for reply in replies)
    print("| way | seconds per answer | tokens per second |\n| --- | --- | --- |")
    for name, seconds in (("in batches", batched), ("`generate` for each", single)):
        print(f"| {name} | {seconds / len(replies):.3f} | {tokens / seconds:.0f} |")
    kind = "CPU time" if options.device == "cpu" else "time"
    print(
        f"\n{single / batched:.1f}x as many answers in the same {kind}; {len(replies)} answers of {teacher.name}, "
        f"{tokens / len(replies):.0f} tokens each, {torch.get_num_threads()} threads, {options.device}"
    )


def _prompts(number: int) -> list[Prompt]:
    """Questions about generated items, each with one of two examples."""
    from recbole_clickprompt.knowledge.answers import Answer
    from recbole_clickprompt.knowledge.prompts import Reference, Subject, build_prompt

    draw = random.Random(7)

    def text() -> str:
        title = " ".join(draw.choices(_WORDS, k=draw.randint(1, 6)))
        return f"title is {title}. year is {draw.randint(1930, 2000)}. genre is {draw.choice(_GENRES)}."

    answer = Answer("A quiet story for patient viewers.", ("drama", "river"), ("slow pace", "family secrets"))
    references = [Reference(f"r{n}", None, text(), None, answer) for n in range(2)]
    return [build_prompt(Subject(f"i{n}", "item", text(), "all"), references[n % 2]) for n in range(number)]


def _answers(teacher: LocalTeacher, prompts: Sequence[Prompt]) -> list[Reply]:
    return [reply for batch in teacher.answer(prompts, lambda: False) for reply in batch]


def _generate(teacher: LocalTeacher, reply: Reply) -> int:
    """One call of ``generate`` that writes as many tokens as the reply has; returns their number."""
    import torch

    inputs = torch.tensor([teacher.tokens(reply.prompt)], device=teacher.device)
    written = reply.tokens_out or 1
    with torch.inference_mode():
        teacher.model.generate(inputs, do_sample=False, min_new_tokens=written, max_new_tokens=written)
    return written


def _timed(run: Callable[[], list], clock: Callable[[], float]) -> tuple[float, list]:
    start = clock()
    result = run()
    return clock() - start, result


if __name__ == "__main__":
    sys.exit(main())

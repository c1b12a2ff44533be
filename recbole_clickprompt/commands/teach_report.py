"""What `recbole-cp teach` prints: expected costs before, and a table of strata after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.teach_progress import duration
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answers import render
from recbole_clickprompt.knowledge.costs import Costs, costs_by_stratum, total_costs
from recbole_clickprompt.knowledge.prompts import build_prompt
from recbole_clickprompt.knowledge.records import Record, read_records
from recbole_clickprompt.knowledge.teaching import unfinished_subjects

if TYPE_CHECKING:
    from recbole_clickprompt.knowledge.answer_file import AnswerFile
    from recbole_clickprompt.knowledge.examples import Examples
    from recbole_clickprompt.knowledge.prompts import Subject
    from recbole_clickprompt.knowledge.teachers.base import Teacher

__all__ = ["check_any_valid", "dry_run", "ended", "summary"]

_SHOWN = 3  # prompts
_COUNTED = 200  # prompts whose tokens are counted; the others are taken to be like them
_CHARACTERS_PER_TOKEN = 4


def dry_run(
    teacher: Teacher, examples: Examples, subjects: Sequence[Subject], *, out: Path, rate: float | None
) -> str:
    """The first prompts, and the tokens and hours that the rest is expected to take.

    Args:
        teacher: Counts tokens; is asked nothing.
        examples: References for the prompts.
        subjects: What would be asked about.
        out: Answers of earlier runs, if there are any; read only.
        rate: Answers per second; None takes the speed of the earlier answers.
    """
    records = read_records(out) if out.is_file() else []
    left = list(unfinished_subjects(records, subjects, teacher, examples))
    step = max(1, len(left) // _COUNTED)
    counted = left[::step]
    prompts = [
        build_prompt(subject, references[0] if references else None)
        for subject, references in zip(counted, examples.rank(counted), strict=True)
    ]
    lines = []
    for prompt in prompts[:_SHOWN]:
        lines += [f"--- {prompt.subject.level} {prompt.subject.key}", prompt.system, "", prompt.user]
    lines.append("---")
    lines.append(f"{len(left):,} questions, {len(subjects) - len(left):,} of {len(subjects):,} are answered")
    if not prompts:
        return "\n".join(lines)
    counts = [teacher.count_tokens(prompt) for prompt in prompts]
    scale = len(left) / len(prompts)
    lines.append(f"about {scale * sum(number for number, _ in counts):,.0f} tokens of prompts ({counts[0][1]})")
    if teacher.decoding == "replay":
        return "\n".join([*lines, "a file answers at once"])
    level = prompts[0].subject.level
    measured = [r for r in records if r.level == level and r.answer is not None and r.seconds]
    length, how = _answer_tokens(measured, examples)
    lines.append(f"about {length * len(left):,.0f} tokens of answers ({how})")
    if rate is not None:
        how = "as --rate says"
    elif measured:
        rate = teacher.concurrent * len(measured) / sum(record.seconds or 0 for record in measured)
        how = f"measured on {len(measured):,} earlier answers"
    if rate is None:
        lines.append("hours unknown: pass --rate, or answer some with --max-tokens, whose speed is then taken")
    else:
        lines.append(f"about {len(left) / rate / 3600:.2f} hours at {rate:.3g} answers per second ({how})")
    return "\n".join(lines)


def _answer_tokens(measured: Sequence[Record], examples: Examples) -> tuple[float, str]:
    """Expected tokens of an answer, and where the number is from."""
    if known := [record.tokens_out for record in measured if record.tokens_out]:
        return sum(known) / len(known), f"as {len(known):,} earlier answers have"
    if examples.references:
        characters = [len(render(reference.answer)) for reference in examples.references]
        return sum(characters) / len(characters) / _CHARACTERS_PER_TOKEN, "estimated from the references"
    return 100.0, "a guess, 100 per answer"


def ended(file: AnswerFile, subjects: Sequence[Subject]) -> str:
    """One line after an interruption."""
    costs = total_costs(costs_by_stratum(subjects, file.records).values())
    return f"interrupted; {file.path} has answers about {costs.asked:,}, and the same command continues"


def check_any_valid(file: AnswerFile, subjects: Sequence[Subject], *, before: int) -> None:
    """Checks that the run has a valid answer, or, where it asked nothing, that an earlier run has one.

    Args:
        file: With the records of this run and of earlier ones.
        subjects: What was asked about.
        before: Number of the records of earlier runs.

    Raises:
        DataError: There is none; names the most frequent reason.
    """
    asked = {(subject.level, subject.key) for subject in subjects}
    records = [record for record in file.records[before:] or file.records if (record.level, record.key) in asked]
    reasons = Counter(record.error for record in records)
    if reasons and None not in reasons:
        ((reason, _),) = reasons.most_common(1)
        raise DataError(
            f"{file.path}: none of the {len(records):,} answers is valid, most often because of: {reason}"
        )


def summary(file: AnswerFile, subjects: Sequence[Subject], *, left: int) -> str:
    """The table of strata, and one line about the file.

    Args:
        file: With the records of this run and of earlier ones.
        subjects: What was asked about.
        left: Subjects that ``--max-tokens`` left.
    """
    costs = costs_by_stratum(subjects, file.records)
    total = total_costs(costs.values())
    header = ["stratum", "asked", "parsed", "rate", "tokens in", "tokens out", "time", "explicit in text"]
    lines = [header, *(_line(name, part) for name, part in costs.items()), _line("all", total)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    lines_after = [f"{file.path}: {total.parsed:,} valid answers about {len(subjects):,}"]
    if left:
        lines_after.append(f"--max-tokens is reached; the same command continues with the other {left:,}")
    return "\n".join([*table, *lines_after])


def _line(name: str, costs: Costs) -> list[str]:
    return [
        name,
        f"{costs.asked:,}",
        f"{costs.parsed:,}",
        _percent(costs.parsed, costs.asked),
        "not recorded" if costs.tokens_in is None else f"{costs.tokens_in:,}",
        "not recorded" if costs.tokens_out is None else f"{costs.tokens_out:,}",
        "not recorded" if costs.seconds is None else duration(costs.seconds),
        _percent(costs.in_text, costs.explicit),
    ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"

"""How well a student has learned from its teacher, measured on held-out answers; a file next to its checkpoint."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.tables import markdown_table, number
from recbole_clickprompt.files import write_text
from recbole_clickprompt.knowledge.embedded import find_knowledge
from recbole_clickprompt.knowledge.records import LEVELS, read_answers
from recbole_clickprompt.knowledge.sampling import uniform
from recbole_clickprompt.methods.msd.generation import write_answers
from recbole_clickprompt.methods.msd.phrase_f1 import ENCODER, KINDS, phrase_f1
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.stage import autocast

if TYPE_CHECKING:
    from recbole_clickprompt.methods.msd.examples import Example, Examples
    from recbole_clickprompt.methods.msd.student import Student

__all__ = ["Quality", "measure_student", "quality_beside", "quality_text", "read_quality", "write_quality"]

THRESHOLDS = (0.7, 0.8, 0.9)
_EXACT = "exact"


@dataclass
class Quality:
    """The content of ``<checkpoint>.f1.json``.

    Attributes:
        distill_valid_loss: Nats per token of the held-out answers.
        answers: Held-out answers that the student wrote itself.
        parse_rate: Share of them that could be parsed; an answer that could not has no phrases.
        ended_rate: Share that ended by itself.
        answer_tokens: Mean number of their tokens.
        threshold: ``phrase_threshold``.
        references: ``phrase_references``.
        f1: By threshold (``0.7``, .., ``exact``), then kind of phrase (``all``, ``explicit``, ``implicit``):
            ``micro``, ``macro``, and each ``_chance`` and ``_above_chance``.
    """

    distill_valid_loss: float
    answers: int = 0
    parse_rate: float = math.nan
    ended_rate: float = math.nan
    answer_tokens: float = math.nan
    threshold: float = 0.8
    references: str | None = None
    f1: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def is_of(self, config: Settings, examples: Examples) -> bool:
        """Whether it was measured as the settings say."""
        return (self.answers, self.threshold, self.references) == (
            min(config["distill_evaluated"], len(examples.dev)),
            config["phrase_threshold"],
            config["phrase_references"],
        )

    def metrics(self) -> dict[str, float]:
        """The main numbers, by name."""
        found = {"distill_valid_loss": self.distill_valid_loss}
        if not self.answers:
            return found
        main = self.f1[f"{self.threshold:g}"]["all"]
        return {
            **found,
            "phrase_f1": main["micro"],
            "phrase_f1_chance": main["micro_chance"],
            "phrase_f1_above_chance": main["micro_above_chance"],
            "parse_rate": self.parse_rate,
            "answer_tokens": self.answer_tokens,
        }


def measure_student(config: Settings, model: Student) -> Quality:
    """Measures a student; ranks share the work and all get the result.

    Args:
        config: ``distill_evaluated``, ``phrase_threshold``, ``phrase_references``, ``micro_batch_size`` and
            ``enable_amp`` of the run.
        model: The model of the stage.

    Raises:
        WeightsError: The encoder of phrases cannot be loaded.
        DataError: ``phrase_references`` cannot be used.
    """
    model.eval()
    threshold = config["phrase_threshold"]
    with autocast(config["device"], config["enable_amp"]):
        quality = Quality(
            model.dev_loss(config["micro_batch_size"]),
            threshold=threshold,
            references=config["phrase_references"],
        )
        examples = _evaluated(model.examples.dev, config["distill_evaluated"])
        if not examples:
            return quality
        ranks = distributed.current()
        local = write_answers(
            model.student,
            model.tokenizer,
            model.input_tokens(examples[ranks.rank :: ranks.world]),
            max_tokens=model.answer_length,
            candidates=model.candidates,
        )
    shares = ranks.all_gather(local)
    written = [shares[number % ranks.world][number // ranks.world] for number in range(len(examples))]
    answers = [one.parsed() for one in written]
    quality.answers = len(written)
    quality.parse_rate = sum(answer is not None for answer in answers) / len(written)
    quality.ended_rate = sum(one.ended for one in written) / len(written)
    quality.answer_tokens = sum(one.tokens for one in written) / len(written)
    from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder

    encode = SentenceEncoder(ENCODER, device=config["device"])
    references = _references(config["phrase_references"], examples)
    for limit in (*sorted({*THRESHOLDS, threshold}), None):
        quality.f1[_EXACT if limit is None else f"{limit:g}"] = {
            kind: _with_differences(
                phrase_f1(
                    answers, references, encode, threshold=limit, kind=kind, groups=[e.level for e in examples]
                )
            )
            for kind in KINDS
        }
    return quality


def _with_differences(found: Any) -> dict[str, float]:
    return found._asdict() | {name: getattr(found, name) for name in ("micro_above_chance", "macro_above_chance")}


def _evaluated(dev: list[Example], most: int) -> list[Example]:
    """At most so many held-out examples, in their order, chosen by their keys."""
    chosen = sorted(dev, key=lambda example: uniform("evaluated", example.level, example.key))[:most]
    names = {(example.level, example.key) for example in chosen}
    return [example for example in dev if (example.level, example.key) in names]


def _references(name: str | None, examples: list[Example]) -> list[Any]:
    if name is None:
        return [example.answer for example in examples]
    path = find_knowledge(name)
    annotated = {level: read_answers(path, level) for level in LEVELS}
    missing = [example.key for example in examples if example.key not in annotated[example.level]]
    if missing:
        raise DataError(
            f"{path} (phrase_references) has no answer for {len(missing)} of {len(examples)} held-out keys, such "
            f"as {missing[0]!r:.60}; add them, or set phrase_references: ~ to compare with the teacher's answers"
        )
    return [annotated[example.level][example.key] for example in examples]


def quality_beside(checkpoint: Path) -> Path:
    """The path of the file that belongs to a checkpoint."""
    return checkpoint.with_name(f"{checkpoint.stem}.f1.json")


def write_quality(path: Path, quality: Quality) -> None:
    """Writes the file; only rank 0 does. Raises StorageError."""
    if distributed.current().is_main:
        write_text(path, json.dumps(_without_nan(asdict(quality)), indent=1) + "\n")


def _without_nan(value: Any) -> Any:
    """NaN is not JSON."""
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def read_quality(path: Path) -> Quality:
    """Reads what ``write_quality`` wrote.

    Raises:
        DataError: The file is missing or not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        f1 = {
            limit: {
                kind: {name: _number(value) for name, value in values.items()} for kind, values in kinds.items()
            }
            for limit, kinds in content.pop("f1").items()
        }
        references = content.pop("references")
        quality = Quality(
            **{name: _number(value) for name, value in content.items()}, references=references, f1=f1
        )
        quality.metrics()
        return quality
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as the quality of a student: {error}; delete it, and recbole-cp distill "
            "writes it again"
        ) from error


def _number(value: Any) -> Any:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} is not a number")
    return value


def quality_text(quality: Quality) -> str:
    """Loss, parse rate and length of answers, and F1, chance and their difference as a Markdown table."""
    lines = [f"loss of held-out answers: {quality.distill_valid_loss:.4f} nats per token"]
    if not quality.answers:
        return lines[0]
    lines.append(
        f"{quality.answers} answers written: {100 * quality.parse_rate:.1f} % can be parsed, "
        f"{100 * quality.ended_rate:.1f} % end, {quality.answer_tokens:.1f} tokens on average"
    )
    names = [f"{mean}{part}" for mean in ("micro", "macro") for part in ("", "_chance", "_above_chance")]
    header = ["phrases", "cosine", *(name.replace("_", " ") for name in names)]
    rows = [
        [kind, limit, *(number(kinds[kind][name], ".3f") for name in names)]
        for kind in KINDS
        for limit, kinds in quality.f1.items()
    ]
    return "\n".join([*lines, "", markdown_table(header, rows)])

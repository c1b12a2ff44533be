"""Measure a step of distillation: its share of the speed of matrix products at the student's layer shapes.

    python -m benchmarks.distillation

Counted are the products of the layers, of causal attention and of the LM head, forward and backward, on real
tokens; padding, normalization, softmax and the optimizer take time but count nothing. The LM head reads target
tokens only, and chooses from the tokens of the answers (``--candidates``): its part is printed. The peak is the
median over the shapes of the student's layers, in all three products of training, with the tokens of a part of the
batch.

One thread. Times are medians of CPU time, which other processes on the machine affect less; steps and products
alternate.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from recbole_clickprompt.methods.msd.student import Part, Student

__all__ = ["Work", "build_student", "main", "work_of"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.distillation``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distillation", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--student", default="smollm2", help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=6, help="of the student (default: %(default)s)")
    parser.add_argument("--knowledge", default="ml-100k-items", help="answers (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="answers per step (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=64, help="micro_batch_size (default: %(default)s)")
    parser.add_argument(
        "--candidates", choices=["plm", "data"], default="data", help="distill_candidates (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="timed steps (default: %(default)s)")
    options = parser.parse_args(arguments)
    sys.argv = sys.argv[:1]
    try:
        check_minimum(options, 1, "layers", "batch", "at_once", "rounds")
        print(_measure(options))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


class Work(NamedTuple):
    """Floating-point operations of the matrix products of a step, and its tokens.

    Attributes:
        layers: Of the linear layers and of attention.
        head: Of the LM head.
        tokens: Real tokens that pass through the layers.
        targets: Those of them that pass through the head.
        padded: Tokens with padding.
    """

    layers: float
    head: float
    tokens: int
    targets: int
    padded: int

    @property
    def total(self) -> float:
        """Operations of layers and head."""
        return self.layers + self.head


def work_of(student: Any, parts: Sequence[Part], *, candidates: int) -> Work:
    """The work of a step of a causal student: three products per layer, forward and for both gradients.

    Args:
        student: transformers' causal model.
        parts: Of the batch.
        candidates: Tokens that the LM head chooses from.
    """
    linear = sum(layer.in_features * layer.out_features for layer in _linear_layers(student))
    width = student.config.num_attention_heads * getattr(student.config, "head_dim", 0)
    head = student.get_output_embeddings().in_features * candidates
    tokens = targets = padded = 0
    layers = 0.0
    for part in parts:
        # the last target token is predicted, but not read
        lengths = [len(read) + len(written) - 1 for read, written in zip(part.inputs, part.targets, strict=True)]
        tokens += sum(lengths)
        padded += len(lengths) * max(lengths)
        targets += part.tokens
        # scores and weighted values: two products of Z x Z x width, of which causal attention needs half
        layers += sum(2 * length * linear for length in lengths)
        layers += sum(2 * length**2 * width * student.config.num_hidden_layers for length in lengths)
    return Work(3 * layers, 3 * 2.0 * head * targets, tokens, targets, padded)


def _linear_layers(student: Any) -> list[nn.Linear]:
    import torch

    head = student.get_output_embeddings()
    return [m for m in student.modules() if isinstance(m, torch.nn.Linear) and m is not head]


def _measure(options: argparse.Namespace) -> str:
    import torch

    from recbole_clickprompt.trainer.optimizer import build_optimizer, build_scheduler
    from recbole_clickprompt.trainer.stage import TrainingStage

    torch.set_num_threads(1)
    model = build_student(
        options.student, layers=options.layers, knowledge=options.knowledge, batch=options.batch,
        candidates=options.candidates,
    )  # fmt: skip
    model.begin_batch(0, 0)
    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=1e-5, plm_learning_rate=1e-5, weight_decay=0.01
    )
    stage = TrainingStage(
        name="distill", model=model, optimizer=optimizer,
        scheduler=build_scheduler(optimizer, name="constant", steps=100, warmup_ratio=0.0), epochs=1,
        micro_batch_size=options.at_once, device=torch.device("cpu"), enable_amp=False,
        clip_grad_norm={"max_norm": 1.0},
    )  # fmt: skip
    batch = model.examples[torch.arange(options.batch)]
    parts = [part for part, _ in model.split(batch, options.at_once)]
    vocabulary = model.student.config.vocab_size
    candidates = vocabulary if model.candidates is None else len(model.candidates)
    work = work_of(model.student, parts, candidates=candidates)
    shapes = sorted({(layer.in_features, layer.out_features) for layer in _linear_layers(model.student)})
    rows = work.padded // len(parts)
    model.train()
    stage.train_batch(batch)
    steps, peaks = [], []
    for _ in range(options.rounds):
        peaks.append(median(_speed(rows, *shape) for shape in shapes))
        steps.append(_seconds(lambda: stage.train_batch(batch)))
    return _text(options, work, candidates, len(parts), median(steps), median(peaks))


def build_student(student: str, *, layers: int, knowledge: str, batch: int, candidates: str) -> Student:
    """A student with the answers of a file, of which steps read the first; texts are made of phrases.

    Args:
        student: The language model.
        layers: Of it.
        knowledge: File or shipped name.
        batch: Answers that it must have.
        candidates: The setting ``distill_candidates``.

    Raises:
        DataError: The file has fewer answers.
    """
    from recbole_clickprompt.errors import DataError
    from recbole_clickprompt.knowledge.embedded import find_knowledge
    from recbole_clickprompt.knowledge.records import read_answers
    from recbole_clickprompt.methods.msd.examples import Example, Examples
    from recbole_clickprompt.methods.msd.student import Student
    from recbole_clickprompt.methods.msd.targets import Targets
    from recbole_clickprompt.plm.generative import load_generative

    answers = read_answers(find_knowledge(knowledge), "item")
    if len(answers) < batch:
        raise DataError(f"{knowledge} has {len(answers)} answers about items, fewer than --batch")
    examples = [
        Example("item", key, f"title is {answer.explicit[-1]}. genre is {answer.explicit[0]}.", answer)
        for key, answer in answers.items()
    ]
    return Student(
        load_generative(student, num_layers=layers),
        Examples(examples, examples),
        targets=Targets(seed=1, target="full", shuffle=True, dictionary={}, replace_rate=0.0),
        max_length=64,
        answer_length=160,
        candidates=candidates,
    )


def _speed(rows: int, inputs: int, outputs: int) -> float:
    """Operations per second of the three products of a layer in training; the median of three rounds."""
    import torch

    states, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    gradient = torch.randn(rows, outputs)

    def products() -> None:
        torch.matmul(states, weight.T)
        torch.matmul(gradient, weight)
        torch.matmul(gradient.T, states)

    products()
    return 6.0 * rows * inputs * outputs / median(_seconds(products) for _ in range(3))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def _text(
    options: argparse.Namespace, work: Work, candidates: int, parts: int, seconds: float, peak: float
) -> str:
    speed = work.total / seconds
    return "\n".join(
        [
            f"{options.batch} answers in {parts} parts: {work.tokens} tokens, {work.targets} of them targets; "
            f"{100 * (work.padded / work.tokens - 1):.1f} % padding",
            f"{work.total / 1e9:.0f} GFLOP, {100 * work.head / work.total:.0f} % of them in the LM head of "
            f"{candidates} tokens",
            f"step: {seconds:.2f} s, {work.tokens / seconds:.0f} tokens/s, {speed / 1e9:.1f} GFLOP/s",
            f"peak of torch.matmul: {peak / 1e9:.1f} GFLOP/s",
            f"ratio: {speed / peak:.2f}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

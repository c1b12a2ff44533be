"""The model of distillation: a student that learns to write the teacher's answers.

Letters: B examples of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.msd.examples import EXAMPLE, Example, Examples
from recbole_clickprompt.methods.msd.targets import Targets, target_text
from recbole_clickprompt.methods.msd.texts import student_tokens
from recbole_clickprompt.plm.continuation_loss import continuation_loss, find_head_scale
from recbole_clickprompt.plm.generative import GenerativeModel, num_positions
from recbole_clickprompt.trainer.running_metrics import RunningMean

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

__all__ = ["Part", "Student"]

# Examples that pass through the student at once. Batches are sorted by length: of 32 answers about films, parts of
# 8 have 4 % of padding, of 16 8 %, and the whole batch 16 % (docs/distillation.md)
_EXAMPLES_AT_ONCE = {"cpu": 8}
_EXAMPLES_AT_ONCE_ELSEWHERE = 32


class Part(NamedTuple):
    """Token ids of some examples.

    Attributes:
        inputs: What the student reads.
        targets: What it is to write, the end token included.
    """

    inputs: list[list[int]]
    targets: list[list[int]]

    @property
    def tokens(self) -> int:
        """Number of target tokens, over which the loss is a mean."""
        return sum(map(len, self.targets))


class Student(nn.Module):
    """A ``trainer.protocols.StageModel``.

    Args:
        student: The language model and its tokenizer.
        examples: Those to train on and those held out.
        targets: How answers become targets.
        max_length: Most tokens of an input.
        answer_length: Most tokens of a target.
        candidates: The setting ``distill_candidates``.

    Attributes:
        student: transformers' language model.
        metrics: Loss and accuracy per target token.
        candidates: Sorted tokens of all answers, from which the student chooses; None for its vocabulary.
    """

    def __init__(
        self,
        student: GenerativeModel,
        examples: Examples,
        *,
        targets: Targets,
        max_length: int,
        answer_length: int,
        candidates: str,
    ) -> None:
        super().__init__()
        self.student, self.tokenizer, self.encoder_decoder = student
        self.examples, self.targets, self.answer_length = examples, targets, answer_length
        self.max_length = max_length
        self.metrics: Mapping[str, RunningMean] = {"distill": RunningMean()}
        self._head_scale = find_head_scale(self.student)
        self._inputs = self.input_tokens(examples.training)
        self._check_positions([*self._inputs, *self.input_tokens(examples.dev)])
        self._epoch: int | None = None
        self._targets: list[list[int]] = []
        self.candidates: Tensor | None = None
        self._epoch_candidates: Tensor | None = None
        if candidates == "data":
            answers = [*examples.training, *examples.dev, *examples.left_out]
            self.candidates = _distinct(self._given_tokens(answers))

    def input_tokens(self, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids that the student reads for each example."""
        tokens: list[list[int]] = [[] for _ in examples]
        for level in {example.level for example in examples}:
            places = [place for place, example in enumerate(examples) if example.level == level]
            found = student_tokens(
                self.tokenizer,
                level,
                [examples[place].text for place in places],
                max_length=self.max_length,
                encoder_decoder=self.encoder_decoder,
            )
            for place, ids in zip(places, found, strict=True):
                tokens[place] = ids
        return tokens

    def _check_positions(self, inputs: Sequence[list[int]]) -> None:
        positions, longest = num_positions(self.student), max(map(len, inputs), default=0)
        needed = max(longest, self.answer_length) if self.encoder_decoder else longest + self.answer_length
        if positions is not None and needed > positions:
            raise SettingError(
                f"the student has {positions} positions, but texts have up to {longest} tokens and answers up to "
                f"{self.answer_length}; lower max_text_length or distill_answer_length"
            )

    def _target_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of targets with the end token, which a target that is cut does not have."""
        if not texts:
            return []
        ids = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [[*target, self.tokenizer.eos_token_id][: self.answer_length] for target in ids]

    def _given_tokens(self, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids of the targets of answers as the teacher gave them."""
        return self._target_tokens([target_text(example.answer, self.targets.target) for example in examples])

    def begin_batch(self, epoch: int, batch: int) -> None:
        """Writes the targets of an epoch before its first batch, also of one that is resumed."""
        if epoch == self._epoch:
            return
        self._epoch = epoch
        texts = [self.targets.text(e.level, e.key, e.answer, epoch) for e in self.examples.training]
        self._targets = self._target_tokens(texts)
        if self.candidates is not None:  # phrases that moved or were replaced may have other tokens
            self._epoch_candidates = torch.cat([self.candidates, _distinct(self._targets)]).unique()

    def before_saving(self) -> None:
        """Nothing is stored but the weights."""

    def split(self, batch: Interaction, size: int) -> list[tuple[Part, float]]:
        """Parts of examples of similar length, weighted by their target tokens.

        The loss of the batch is therefore the sum over its target tokens divided by their number, however it is
        cut.
        """
        numbers = batch[EXAMPLE].tolist()
        return self._parts([self._inputs[n] for n in numbers], [self._targets[n] for n in numbers], size)

    def _parts(
        self, inputs: Sequence[list[int]], targets: Sequence[list[int]], size: int
    ) -> list[tuple[Part, float]]:
        order = sorted(range(len(inputs)), key=lambda n: len(inputs[n]) + len(targets[n]))
        at_once = min(size, _EXAMPLES_AT_ONCE.get(self.student.device.type, _EXAMPLES_AT_ONCE_ELSEWHERE))
        parts = [
            Part([inputs[n] for n in order[at : at + at_once]], [targets[n] for n in order[at : at + at_once]])
            for at in range(0, len(order), at_once)
        ]
        total = sum(part.tokens for part in parts)
        return [(part, part.tokens / total) for part in parts]

    def rows(self, part: Part) -> int:
        """Number of examples of a part."""
        return len(part.inputs)

    def select(self, part: Part, rows: Tensor) -> tuple[Part, float]:
        """Some examples of a part, by number, and their share of its target tokens."""
        numbers = rows.tolist()
        selected = Part([part.inputs[n] for n in numbers], [part.targets[n] for n in numbers])
        return selected, selected.tokens / part.tokens

    def calculate_loss(self, part: Part) -> Tensor:
        """Mean negative log likelihood per target token, a scalar in nats."""
        loss, correct = self._loss(part, self._epoch_candidates)
        self.metrics["distill"].add(loss.detach(), correct)
        return loss

    def _loss(self, part: Part, candidates: Tensor | None) -> tuple[Tensor, Tensor]:
        device = self.student.device
        return continuation_loss(
            self.student,
            part.inputs,
            part.targets,
            head_scale=self._head_scale,
            candidates=None if candidates is None else candidates.to(device),
        )

    @torch.no_grad()
    def dev_loss(self, size: int) -> float:
        """The loss of the held-out answers as the teacher gave them; each rank computes a part.

        Args:
            size: Examples that pass through the model at once.

        Returns:
            Nats per token, equal on all ranks.
        """
        ranks = distributed.current()
        self.eval()
        dev = self.examples.dev[ranks.rank :: ranks.world]
        targets = self._given_tokens(dev)
        total, tokens = 0.0, 0.0
        for part, _ in self._parts(self.input_tokens(dev), targets, size):
            loss, _ = self._loss(part, self.candidates)
            total, tokens = total + loss.item() * part.tokens, tokens + part.tokens
        total, tokens = ranks.all_reduce([total, tokens], self.student.device)
        return total / tokens

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """All weights: the student is a pretrained language model."""
        return list(self.student.parameters())


def _distinct(targets: Sequence[list[int]]) -> Tensor:
    """The tokens of targets, sorted."""
    return torch.tensor(sorted({token for target in targets for token in target}))

"""The examples of distillation: texts of items and users with the teacher's answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from logging import getLogger
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.knowledge.answers import Answer
from recbole_clickprompt.knowledge.sampling import is_development, uniform
from recbole_clickprompt.methods.msd.distillation_settings import distillation_seed
from recbole_clickprompt.methods.msd.targets import kept
from recbole_clickprompt.methods.text_vectors.answers import teacher_answers
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.descriptions import descriptions, profile_descriptions
from recbole_clickprompt.text.source import TextSource

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

__all__ = ["EXAMPLE", "Example", "Examples", "load_examples"]

EXAMPLE = "example"  # column of a batch: numbers of examples, (B,) int64


class Example(NamedTuple):
    """An item or user, and what the teacher says about it.

    Attributes:
        level: ``item`` or ``user``.
        key: The key of the answer.
        text: What is known, as ``texts.descriptions`` writes it.
        answer: The teacher's.
    """

    level: str
    key: str
    text: str
    answer: Answer


class Examples:
    """Those to train on, which a loader reads by number, and those that are held out.

    Args:
        training: To train on.
        dev: Held out, to choose an epoch and to measure the student.
        left_out: Not trained on because of ``distill_share``; their tokens are candidates, so that losses of
            students of different shares are comparable.
    """

    def __init__(
        self, training: Sequence[Example], dev: Sequence[Example], left_out: Sequence[Example] = ()
    ) -> None:
        self.training, self.dev, self.left_out = list(training), list(dev), list(left_out)

    def __len__(self) -> int:
        """Number of examples to train on."""
        return len(self.training)

    def __getitem__(self, numbers: np.ndarray | torch.Tensor) -> Interaction:
        """The numbers as a batch, ``(B,)``; the model of the stage has the texts."""
        from recbole.data.interaction import Interaction

        return Interaction({EXAMPLE: torch.as_tensor(numbers, dtype=torch.int64)})

    def digest(self) -> str:
        """A hash of all examples in their order."""
        return hashlib.sha256(json.dumps([self.training, self.dev, self.left_out]).encode()).hexdigest()


def load_examples(config: Settings, dataset: TextSource, *, share: float) -> Examples:
    """The examples of a run.

    Items and users that have no training row are left out: to a recommender in operation they are not known yet.

    Args:
        config: ``knowledge``: files or names of shipped ones; of answers with one key, the last counts.
        dataset: The training part of the split.
        share: Share of the training examples to keep.

    Raises:
        SettingError: There is no knowledge.
        DataError: A file cannot be used, or answers are about other items, users or texts.
    """
    names: Sequence[str] = config["knowledge"] or []
    if not names:
        raise SettingError(
            "knowledge names no file of answers, so there is nothing to distill; give a file that recbole-cp "
            "teach wrote, or the name of a shipped one"
        )
    found: list[Example] = []
    for level, subjects in _subjects(config, dataset).items():
        answers = teacher_answers(config, level, subjects, seed=distillation_seed(config))
        found += [Example(level, key, text, answers[key]) for key, text in subjects.items() if key in answers]
        answered = sum(key in answers for key in subjects)
        getLogger().info(f"distill: answers about {answered} of {len(subjects)} {level}s with a text")
    if len(found) < 2:
        raise DataError(
            f"{', '.join(names)}: {len(found)} answers are about items or users of the training rows of "
            "this data set, and distillation needs at least 2; check knowledge"
        )
    dev = [example for example in found if is_development(example.level, example.key)]
    # So few answers that none is held out: the one that is nearest to it
    dev = dev or [min(found, key=lambda example: uniform("split", example.level, example.key))]
    held_out = {(example.level, example.key) for example in dev}
    training = [example for example in found if (example.level, example.key) not in held_out] or dev
    left_out: list[Example] = []
    if share < 1:
        chosen = set(kept([f"{example.level} {example.key}" for example in training], share))
        left_out = [example for example in training if f"{example.level} {example.key}" not in chosen]
        training = [example for example in training if f"{example.level} {example.key}" in chosen]
    getLogger().info(f"distill: {len(training)} answers to train on, {len(dev)} held out")
    return Examples(training, dev, left_out)


def _subjects(config: Settings, dataset: TextSource) -> dict[str, dict[str, str]]:
    """Texts by key: of items of the training rows; of profiles only if there are answers about users."""
    rows = dataset[torch.arange(len(dataset))]
    items, users = (set(rows[key].unique().tolist()) for key in (dataset.iid_field, dataset.uid_field))
    texts = descriptions(dataset, "item")
    subjects = {
        "item": {
            str(dataset.id2token(dataset.iid_field, item)): texts[item] for item in sorted(items) if texts[item]
        }
    }
    if dataset.user_profiles is not None and teacher_answers(config, "user", seed=distillation_seed(config)):
        profiles = dataset.user_profiles
        tokens = [str(dataset.id2token(dataset.uid_field, user)) for user in range(dataset.num(dataset.uid_field))]
        of_users = zip(profiles.users.tolist(), profiles.keys(tokens), profile_descriptions(dataset), strict=True)
        subjects["user"] = {key: text for user, key, text in of_users if user in users and text}
    return subjects

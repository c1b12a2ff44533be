"""The stage ``distill``: the student learns to write the teacher's answers (MSD, Eq. 1 and 2, with teacher
forcing).

The paper's loss has the wrong sign, and conditions each token on the student's own words, which do not line up
with the teacher's. Here the student reads the teacher's words so far, as in training on rationales.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recbole_clickprompt.methods.base import Curve
from recbole_clickprompt.methods.msd.distillation_settings import DISTILLATION, distillation_seed
from recbole_clickprompt.methods.msd.examples import Examples, load_examples
from recbole_clickprompt.methods.msd.phrase_dictionary import dictionary_hash, load_dictionary
from recbole_clickprompt.methods.msd.phrase_f1 import ENCODER
from recbole_clickprompt.methods.text_vectors.answers import knowledge_hash
from recbole_clickprompt.plm.generative import num_positions
from recbole_clickprompt.plm.weights import find_plm, text_files_hash, weights_hash
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.optimizer import build_optimizer

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

    from recbole_clickprompt.methods.msd.student import Student
    from recbole_clickprompt.plm.generative import GenerativeModel

__all__ = ["DISTILLATION_CURVES", "DISTILLATION_MEASURES", "Distillation"]

DISTILLATION_CURVES = (
    Curve(
        "distill", "distill_loss", "Distillation: loss", "nats",
        "Mean negative log likelihood of the tokens of the teacher's answers.",
    ),
    Curve(
        "distill", "distill_valid_loss", "Distillation: loss of held-out answers", "nats",
        "The same for the 10 % of answers that are not trained on; the epoch with the smallest is kept.",
    ),
)  # fmt: skip

DISTILLATION_MEASURES = (
    Curve(
        "distill", "phrase_f1", "F1 of the student's phrases", "F1",
        "Phrases of held-out answers that the student found, micro F1 at phrase_threshold. Chance is part of it.",
    ),
    Curve(
        "distill", "phrase_f1_above_chance", "F1 of the student's phrases above chance", "F1 - chance",
        "The same, less the F1 of the student's phrases with the answers about other items.",
    ),
)  # fmt: skip

# Settings that determine the result, next to the contents of the files that some of them name
_SETTINGS = (
    *(name for name, setting in DISTILLATION.items() if setting.stage != "none"),
    "student", "student_num_layers", "max_text_length", "shuffle", "clip_grad_norm", "enable_amp",
)  # fmt: skip
_ELSEWHERE = ("student", "phrase_dictionary", "distill_seed")  # their contents or results are inputs
_UNLIMITED = 1 << 20  # tokens; T5's positions are relative


class Distillation:
    """A ``trainer.protocols.PretrainingStage`` of texts, which is validated after each epoch.

    Its checkpoint contains ``student.*``: the weights of transformers' language model.
    """

    name = "distill"

    def is_enabled(self, config: Settings) -> bool:
        """Whether there is ``knowledge``, and something to do with it: epochs, or answers to write and compare."""
        return bool(config["knowledge"]) and (self.epochs(config) > 0 or config["distill_evaluated"] > 0)

    def label(self, config: Settings) -> str:
        """``student``: whatever the student is used for, its checkpoint is the same."""
        return "student"

    def reads_text(self, config: Settings) -> bool:
        """False: it reads no rows, and its examples have a fingerprint of their own (``inputs``)."""
        return False

    def training_rows(
        self, config: Settings, train_data: AbstractDataLoader, valid_data: AbstractDataLoader | None
    ) -> Examples:
        """See ``load_examples``."""
        return load_examples(config, train_data._dataset, share=config["distill_share"])

    def inputs(self, config: Settings, dataset: Examples) -> dict[str, Any]:
        """Settings of distillation, and hashes of knowledge, texts, dictionary and the undistilled student."""
        folder = find_plm(config["student"])
        return {
            "settings": {
                **{name: _plain(config[name]) for name in _SETTINGS if name not in _ELSEWHERE},
                "seed": self.seed(config),
            },
            "knowledge": knowledge_hash(config["knowledge"]),
            "examples": dataset.digest(),
            "dictionary": dictionary_hash(config["phrase_dictionary"]),
            "student_weights": weights_hash(folder),
            "student_files": text_files_hash(folder),
        }

    def seed(self, config: Settings) -> int:
        """See ``distillation_seed``."""
        return distillation_seed(config)

    def enable_amp(self, config: Settings) -> bool:
        """``enable_amp``."""
        return config["enable_amp"]

    def batch_size(self, config: Settings) -> int:
        """``distill_batch_size``."""
        return config["distill_batch_size"]

    def epochs(self, config: Settings) -> int:
        """``distill_epochs``; 0 with ``distill_share: 0``."""
        return config["distill_epochs"] if config["distill_share"] > 0 else 0

    def schedule(self, config: Settings) -> tuple[str, float]:
        """Cosine decay after ``distill_warmup_ratio``."""
        return "cosine", config["distill_warmup_ratio"]

    def build(self, config: Settings, dataset: Any) -> Student:
        """The undistilled student with its ``Examples``."""
        from recbole_clickprompt.methods.msd.student import Student
        from recbole_clickprompt.methods.msd.targets import Targets
        from recbole_clickprompt.plm.generative import load_generative

        answers = [example.answer for example in dataset.training]
        student = load_generative(config["student"], num_layers=config["student_num_layers"])
        return Student(
            student,
            dataset,
            targets=Targets(
                seed=self.seed(config),
                target=config["distill_target"],
                shuffle=config["shuffle_phrases"],
                dictionary=load_dictionary(config["phrase_dictionary"], answers),
                replace_rate=config["phrase_replace_rate"],
            ),
            max_length=config["max_text_length"] or _longest_text(student, config["distill_answer_length"]),
            answer_length=config["distill_answer_length"],
            candidates=config["distill_candidates"],
        )

    def begin(self, config: Settings, dataset: Examples, model: Student, previous: Path | None) -> None:
        """The student starts from its own weights; finds now what ``finish`` needs after hours of training."""
        if config["distill_evaluated"]:
            find_plm(ENCODER)

    def optimizer(self, config: Settings, model: Student) -> torch.optim.Optimizer:
        """AdamW with one learning rate for all weights."""
        rate = config["distill_learning_rate"]
        return build_optimizer(
            model,
            learner="adamw",
            learning_rate=rate,
            plm_learning_rate=rate,
            weight_decay=config["distill_weight_decay"],
        )

    def validate(self, config: Settings, model: Student, dataset: Examples) -> float:
        """Nats per token of the held-out answers."""
        return model.dev_loss(config["micro_batch_size"])

    def patience(self, config: Settings) -> int:
        """``distill_patience``."""
        return config["distill_patience"]

    def finish(self, config: Settings, model: Student, dataset: Examples, checkpoint: Path) -> dict[str, float]:
        """Measures the student and writes the result next to the checkpoint; see ``quality``."""
        from recbole_clickprompt.methods.msd.quality import measure_student, quality_beside, write_quality

        quality = measure_student(config, model)
        write_quality(quality_beside(checkpoint), quality)
        found, measured = quality.metrics(), [column for _, column, *_ in DISTILLATION_MEASURES]
        return {name: found[name] for name in measured if not math.isnan(found.get(name, math.nan))}

    def summary(self, config: Config, dataset: Examples, checkpoint: Path) -> str:
        """Loss, parse rate and the table of F1."""
        from recbole_clickprompt.methods.msd.quality import quality_beside, quality_text, read_quality
        from recbole_clickprompt.trainer.stages import load_stage_model

        path = quality_beside(checkpoint)
        quality = read_quality(path) if path.exists() else None
        if quality is None or not quality.is_of(config, dataset):
            model: Any = load_stage_model(self, config, dataset, checkpoint)
            self.finish(config, model, dataset, checkpoint)
            quality = read_quality(path)
        return quality_text(quality)

    def evaluate(self, config: Config, model: Student, data: AbstractDataLoader) -> dict[str, float]:
        """Loss and phrase F1 of the held-out answers; ``data`` is not read."""
        from recbole_clickprompt.methods.msd.quality import measure_student

        return measure_student(config, model).metrics()

    def selection_metric(self, config: Settings, *, bigger: bool) -> str:
        """``phrase_f1`` above chance, or the loss of held-out answers."""
        return "phrase_f1_above_chance" if bigger else "distill_valid_loss"


def _longest_text(student: GenerativeModel, answer_length: int) -> int:
    """Most tokens of a text that the student has positions for, next to its answer."""
    positions = num_positions(student.model) or _UNLIMITED
    return max(1, positions - (0 if student.encoder_decoder else answer_length))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value

"""Declarations of the settings of distillation."""

from __future__ import annotations

from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.types import BOOLEAN, FRACTION, NAME, POSITIVE, choice, integer, optional, real
from recbole_clickprompt.settings.values import Settings

__all__ = ["DISTILLATION", "distillation_seed"]

DISTILLATION = {
    "distill_epochs": Setting(
        integer(0), 10, "Most passes over the teacher's answers. 0: the student is used undistilled.", "pretrain"
    ),
    "distill_batch_size": Setting(integer(1), 32, "Answers per optimizer step.", "pretrain"),
    "distill_learning_rate": Setting(
        POSITIVE, 2e-4, "Learning rate of the student's weights; 1e-3 suits a T5.", "pretrain"
    ),
    "distill_weight_decay": Setting(real(), 0.01, "Weight decay of AdamW.", "pretrain"),
    "distill_warmup_ratio": Setting(
        FRACTION, 0.05, "Fraction of the steps used for warm-up; cosine decay follows.", "pretrain"
    ),
    "distill_patience": Setting(
        integer(1),
        2,
        "Distillation ends after so many epochs in a row without a smaller loss on the 10 % of answers that are "
        "held out; the best weights are kept.",
        "pretrain",
    ),
    "distill_share": Setting(
        FRACTION, 1.0, "The share of the other 90 % that is trained on. 0: the student is used undistilled.",
        "pretrain",
    ),
    "distill_seed": Setting(
        optional(integer(0)),
        None,
        "Seed of distillation and of shuffle_knowledge, so that runs of several seeds can share a student. None: "
        "seed.",
        "pretrain",
    ),
    "distill_target": Setting(
        choice("full", "phrases"),
        "full",
        "What the student learns to write: full: the reasoning and both lists of phrases; phrases: the lists.",
        "pretrain",
    ),
    "distill_candidates": Setting(
        choice("plm", "data"),
        "data",
        "Candidates for a token of an answer: the student's whole vocabulary, or only tokens that occur in the "
        "answers, which saves most of the LM head's time.",
        "pretrain",
    ),
    "distill_answer_length": Setting(
        integer(1), 160, "Most tokens of an answer; a longer one is cut and teaches no end.", "pretrain"
    ),
    "shuffle_knowledge": Setting(
        BOOLEAN, False, "A control: each item and user gets the teacher's answer about another one.", "pretrain"
    ),
    "shuffle_phrases": Setting(
        BOOLEAN, True, "Permute the phrases within their list from epoch to epoch.", "pretrain"
    ),
    "phrase_dictionary": Setting(
        optional(NAME),
        None,
        "JSON lines {phrase, same: [phrases]}: training replaces phrases by others of equal meaning. auto: built "
        "from the answers that are trained on, of phrases whose MiniLM vectors have a cosine of at least 0.9.",
        "pretrain",
    ),
    "phrase_replace_rate": Setting(
        FRACTION, 0.1, "Probability that a phrase of the dictionary is replaced.", "pretrain"
    ),
    "distill_evaluated": Setting(
        integer(0),
        200,
        "Most held-out answers that the distilled student writes itself, to be compared with the teacher's "
        "phrases. 0: none.",
        "none",
    ),
    "phrase_references": Setting(
        optional(NAME),
        None,
        "Answers, such as annotated ones, that the student's phrases are compared with. None: the teacher's.",
        "none",
    ),
    "phrase_threshold": Setting(
        real(-1, 1, high_open=False), 0.8, "Cosine from which two phrases count as equal.", "none"
    ),
}  # fmt: skip


def distillation_seed(config: Settings) -> int:
    """``distill_seed``, or ``seed`` without one."""
    return config["seed"] if config["distill_seed"] is None else config["distill_seed"]

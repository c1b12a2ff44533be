"""Declarations of settings that several methods share: of a PLM, of pretraining, and of finetuning."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.recbole import RECBOLES
from recbole_clickprompt.settings.shared import SHARED
from recbole_clickprompt.settings.types import (
    BOOLEAN,
    DROPOUT,
    FRACTION,
    LORA,
    NAME,
    POSITIVE,
    choice,
    integer,
    list_of,
    optional,
    real,
)
from recbole_clickprompt.settings.values import Settings

__all__ = ["INTERACTION_LAYERS", "KNOWLEDGE", "PLM", "POOLING", "PRETRAINING", "text_levels", "training"]

_TRAINING = {
    "load_pretrained": Setting(
        choice("all", "embeddings"),
        "all",
        "What finetuning loads of the pretrained backbone: all; or embeddings, with layers from scratch.",
        "finetune",
    ),
}
PLM = {
    "plm_num_layers": Setting(optional(integer(1)), None, "Keep the PLM's first layers only. None: all.", "text"),
    "plm_dropout": Setting(optional(DROPOUT), None, "Dropout inside the PLM. None: the PLM's own.", "text"),
    "plm_gradient_checkpointing": Setting(
        BOOLEAN, False, "Compute layers again in the backward pass, to save memory.", "text"
    ),
    "plm_lora": Setting(
        optional(LORA), None, "Train the PLM by LoRA: r, alpha, dropout, target_modules. None: train its weights.",
        "text",
    ),
}  # fmt: skip
POOLING = {
    "plm_pooling": Setting(
        choice("cls", "avg", "avg_first_last", "avg_top2"),
        "cls",
        "How token states become one vector: cls, avg, avg_first_last or avg_top2.",
        "finetune",
    ),
}
INTERACTION_LAYERS = {
    "plm_interaction_layers": Setting(
        optional(integer(1)),
        None,
        "Train this many top layers. The layers below are frozen and encode the text of each user and each item "
        "separately, once, before training: an approximation, whose outputs differ from the exact model's. None: "
        "the exact model, which trains all layers.",
        "text",
    ),
}
PRETRAINING = {
    "mask_ratio": Setting(real(0, 1, low_open=True), 0.15, "The share of a row's tokens to recover.", "text"),
    "mask_target": Setting(
        choice("tokens", "values", "fields"),
        "tokens",
        "tokens: mask any token. values: only tokens of values, not the words between them. fields: whole values.",
        "text",
    ),
    "mlm_candidates": Setting(
        choice("plm", "data"),
        "plm",
        "Candidates for a masked token: the PLM's whole vocabulary, or only tokens that occur in the data.",
        "text",
    ),
    "pretrain_rows": Setting(optional(integer(1)), None, "As train_rows, for pretraining.", "pretrain"),
    "pretrain_epochs": Setting(integer(0), 20, "Passes over these rows. 0: no pretraining.", "pretrain"),
    "pretrain_batch_size": Setting(integer(1), 1024, "As train_batch_size, for pretraining.", "pretrain"),
    "pretrain_learning_rate": Setting(
        POSITIVE, 1e-3, "As learning_rate, for pretraining. The paper: 5e-5.", "pretrain"
    ),
    "pretrain_plm_learning_rate": Setting(real(), 5e-5, "As plm_learning_rate, for pretraining.", "text"),
    "pretrain_weight_decay": Setting(real(), 0.0, "As weight_decay, for pretraining.", "pretrain"),
    "pretrain_warmup_ratio": Setting(FRACTION, 0.05, "As warmup_ratio, for pretraining.", "pretrain"),
    "pretrain_lr_scheduler": Setting(
        choice("cosine", "linear", "constant"), "cosine", "As lr_scheduler, for pretraining.", "pretrain"
    ),
}
KNOWLEDGE = {
    "knowledge": Setting(
        optional(list_of(NAME)),
        None,
        "Files with a teacher's answers, as recbole-cp teach writes them, or names of shipped ones; some data "
        "sets name one.",
        "pretrain",
    ),
    "knowledge_vectors": Setting(
        choice("answers", "texts", "random"),
        "answers",
        "What a frozen encoder reads about each item and user: answers: the text, followed by the teacher's "
        "answer where there is one. texts: a control, the text alone. random: a control, random vectors of the "
        "same length, equal for equal texts.",
        "finetune",
    ),
    "shuffle_knowledge": Setting(
        BOOLEAN, False, "A control: each item and user gets the teacher's answer about another one.", "pretrain"
    ),
}


def training(**defaults: object) -> dict[str, Setting]:
    """Settings of finetuning, shared ones and RecBole's included, with the defaults of a method.

    Args:
        defaults: Default by setting.

    Raises:
        KeyError: There is no such setting.
    """
    known = {**RECBOLES, **SHARED, **_TRAINING}
    return {name: replace(known[name], default=default) for name, default in defaults.items()}


def text_levels(settings: Settings) -> list[str]:
    """What texts are read about: ``item``, and ``user`` unless ``user_knowledge`` is none."""
    return ["item"] if settings["user_knowledge"] == "none" else ["item", "user"]

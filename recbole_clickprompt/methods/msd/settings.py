"""Declarations of MSD's settings; those of distillation are in ``distillation_settings.py``."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.methods.msd.distillation_settings import DISTILLATION
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.recbole import RECBOLES
from recbole_clickprompt.settings.shared import SHARED
from recbole_clickprompt.settings.types import (
    BOOLEAN,
    LORA,
    NAME,
    POSITIVE,
    choice,
    integer,
    list_of,
    optional,
    real,
)

__all__ = ["SETTINGS"]


def _shared(**defaults: object) -> dict[str, Setting]:
    """Shared settings with the defaults of this method."""
    known = {**RECBOLES, **SHARED}
    return {name: replace(known[name], default=default) for name, default in defaults.items()}


_STUDENT = {
    "student": Setting(
        NAME,
        "smollm2",
        "The language model that is distilled and then reads texts: smollm2, the folder of a saved causal or "
        "encoder-decoder model, or a Hugging Face id.",
        "pretrain",
    ),
    "student_num_layers": Setting(
        optional(integer(1)),
        6,
        "Keep the student's first layers only, in both stacks of an encoder-decoder. None: all.",
        "pretrain",
    ),
    "student_pooling": Setting(
        choice("mean", "last"),
        "mean",
        "The vector of a text: mean, of the last states of its tokens; last, that of its last token, for causal "
        "students only.",
        "finetune",
    ),
    "knowledge": Setting(
        optional(list_of(NAME)),
        None,
        "Files with the teacher's answers, as recbole-cp teach writes them, or names of shipped ones; some data "
        "sets name one. None: the student is not distilled.",
        "pretrain",
    ),
    "lora_layers": Setting(
        optional(integer(1)),
        2,
        "Train this many layers of the student from the top. The layers below are frozen and read each text once. "
        "None: all layers.",
        "finetune",
    ),
    "plm_lora": Setting(
        optional(LORA),
        {"r": 8, "alpha": 16, "dropout": 0.05},
        "Train these layers by LoRA: r, alpha, dropout, target_modules. None: train their weights.",
        "text",
    ),
    "vectors": Setting(
        choice("student", "random"),
        "student",
        "random: a control, random vectors with the norms of the student's, equal for equal texts.",
        "finetune",
    ),
}
_TEXTS = {
    "read_answers": Setting(
        BOOLEAN,
        False,
        "The texts of items contain the teacher's phrases about them, where there are any. Not the paper's, where "
        "only the student knows them; a new item then needs an answer of the teacher.",
        "finetune",
    ),
    "train_texts": Setting(
        choice("targets", "all", "none"),
        "targets",
        "The items whose texts the student learns from in each step: targets; all, clicks of histories too; or "
        "none, frozen vectors. Other vectors come from a table.",
        "finetune",
    ),
    "texts_per_step": Setting(
        optional(integer(1)),
        64,
        "With train_texts: targets, the student learns from so many of the texts of a step, drawn at random, and "
        "the table has the others: most of the time of a step is reading texts. None: from all.",
        "finetune",
    ),
    "train_user_texts": Setting(
        BOOLEAN, False, "The student learns from the texts of users too, which are long.", "finetune"
    ),
    "refresh_steps": Setting(
        optional(integer(1)),
        None,
        "Compute the table of vectors again after this many steps. None: at the start of each epoch. Before an "
        "evaluation it is always computed.",
        "finetune",
    ),
    "adaptor_size": Setting(
        integer(1), 128, "Width of the hidden layer between the student's vectors and the CTR model.", "finetune"
    ),
    "standardize_vectors": Setting(
        BOOLEAN,
        True,
        "Scale each component of the student's vectors to mean 0 and deviation 1 over the texts of training rows. "
        "The paper does not say.",
        "finetune",
    ),
}
_NEAR = {
    "fusion": Setting(
        choice("sum", "mean", "softmax", "attention", "histogram", "none"),
        "sum",
        "How the vectors of near items become one: sum, as in the paper; mean; softmax of their similarities; "
        "attention, learned; histogram, a control, the counts of all clicks by their similarity to the target; or "
        "none, without histories.",
        "finetune",
    ),
    "near_items": Setting(integer(1), 5, "The number of clicks most similar to the target, M.", "finetune"),
    "fusion_temperature": Setting(
        POSITIVE, 0.1, "With fusion: softmax: what similarities are divided by.", "finetune"
    ),
    "fuse_target": Setting(
        BOOLEAN, True, "The vector of the target item's text is a field too. The paper: False.", "finetune"
    ),
    "unique_history": Setting(
        BOOLEAN, False, "An item that a history holds several times is near once at most.", "finetune"
    ),
    "mask_items": Setting(
        choice("none", "uniform", "head", "tail"),
        "head",
        "Hide clicks in training by the frequency of their items: head, frequent ones more; tail, rare ones; "
        "uniform; or none. The paper does not state its law.",
        "finetune",
    ),
    "mask_rate": Setting(
        real(0, 0.5, high_open=True), 0.15, "The share of clicks that are hidden in a training step.", "finetune"
    ),
}

SETTINGS = grouped(
    {
        "History": _shared(history_length=20),
        "User profiles": _shared(user_knowledge="blocks"),
        "Text": {
            "max_text_length": replace(
                SHARED["max_text_length"],
                default=192,
                meaning="Maximum number of tokens of a text of an item or a user.",
            )
        },
        "Training": _shared(
            epochs=5,
            train_batch_size=1024,
            micro_batch_size=1024,
            learning_rate=1e-3,
            plm_learning_rate=1e-4,
            weight_decay=0.1,
            warmup_ratio=0.0,
            lr_scheduler="constant",
            stopping_step=2,
            clip_grad_norm={"max_norm": 1.0},
        ),
        "Student": _STUDENT,
        "Distillation": DISTILLATION,
        "Texts": _TEXTS,
        "Near items": _NEAR,
    }
)

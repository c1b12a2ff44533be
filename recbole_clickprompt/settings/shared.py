"""This package's settings that all methods share."""

from __future__ import annotations

from recbole_clickprompt.settings.declaration import DATA_SET, Setting, grouped
from recbole_clickprompt.settings.from_table import FROM_TABLE
from recbole_clickprompt.settings.types import (
    BOOLEAN,
    BOOLEAN_OR_AUTO,
    FIELD_NAMES,
    FRACTION,
    NAME,
    POSITIVE,
    RENAMINGS,
    TEXT,
    VALUE_LABELS,
    choice,
    integer,
    list_of,
    optional,
    real,
)

__all__ = ["SHARED"]

_TEXT = {
    "plm": Setting(
        NAME,
        "minilm",
        "The language model: minilm, smollm2, hashed, the folder of a saved model, or a Hugging Face id.",
        "none",
    ),
    "max_text_length": Setting(
        optional(integer(3)), None, "Maximum number of tokens of a row's text. None: the PLM's maximum.", "text"
    ),
    "text_fields": Setting(
        FIELD_NAMES,
        DATA_SET,
        "The fields in the text of a row, each with its name in words, in this order.",
        "text",
    ),
    "value_labels": Setting(
        VALUE_LABELS, DATA_SET, "For each field, the words that replace its codes in the text.", "text"
    ),
    "whole_text_fields": Setting(
        list_of(TEXT), DATA_SET, "Fields that are read as a single value, not split into words.", "pretrain"
    ),
    "text_only_fields": Setting(
        list_of(TEXT),
        [],
        "Fields of text_fields, such as descriptions, that only language models read: they are read as a single "
        "value and are not features of the backbone.",
        "pretrain",
    ),
    "log_scale_fields": Setting(
        list_of(TEXT),
        [],
        "Number fields with a few very large values: the backbone reads sign(x)·log(1 + |x|), before "
        "normalize_field applies. Texts have the original numbers.",
        "pretrain",
    ),
    "rename_fields": Setting(
        RENAMINGS, DATA_SET, "For inter, user or item: fields of the files and their new names.", "pretrain"
    ),
}
_TRAINING = {
    "train_stage": Setting(
        NAME,
        "all",
        "The stages to run: all, finetune, or the name of an earlier stage such as pretrain.",
        "finetune",
    ),
    "pre_model_path": Setting(
        optional(TEXT),
        None,
        "For train_stage finetune: the pretraining checkpoint to start from. None: start from scratch.",
        "finetune",
    ),
    "warm_start": Setting(
        optional(NAME),
        None,
        "The .pth file or run folder of an earlier run of this method, or the result of one of its stages, to "
        "continue from. Known ids keep their embeddings; new ids start as unseen_id_embeddings and init_from_text "
        "say. None: start from scratch.",
        "none",
    ),
    "warm_start_optimizer": Setting(
        choice("fresh", "restored"),
        "fresh",
        "With warm_start: fresh: the optimizer starts without moments. restored: it has those of the earlier run, "
        "and none for new ids.",
        "finetune",
    ),
    "resume": Setting(
        optional(NAME),
        None,
        "auto: resume an interrupted run with the same settings and data. Or the path of a state file.",
        "none",
    ),
    "checkpoint_minutes": Setting(
        real(), 10, "Save the state for resume at this interval, in minutes. 0: only at SIGTERM.", "none"
    ),
    "plm_learning_rate": Setting(
        real(), 5e-5, "Learning rate of the pretrained language model. 0: it is frozen.", "finetune"
    ),
    "warmup_ratio": Setting(FRACTION, 0.05, "Fraction of the steps used for warm-up.", "finetune"),
    "lr_scheduler": Setting(
        choice("cosine", "linear", "constant"),
        "cosine",
        "Schedule after warm-up: cosine, linear or constant.",
        "finetune",
    ),
    "train_rows": Setting(
        optional(integer(1)),
        None,
        "Finetune on this many training rows, drawn by the seed. None: all rows.",
        "finetune",
    ),
    "train_negatives": Setting(
        real(0, 1, low_open=True, high_open=False),
        1.0,
        "Finetune on this share of the rows with label 0, drawn by the seed, and on all with label 1. Scores are "
        "corrected for it, so that they remain probabilities.",
        "finetune",
    ),
    "pos_weight": Setting(
        POSITIVE,
        1.0,
        "Weight of the loss of rows with label 1. With any other value than 1 scores are no probabilities.",
        "finetune",
    ),
    "evals_per_epoch": Setting(
        integer(1),
        1,
        "Validations per pass over the training rows. With 4, each quarter of a pass is an epoch in logs and "
        "histories and for stopping_step and eval_step, while epochs still counts passes.",
        "finetune",
    ),
    "gauc_field": Setting(
        optional(NAME),
        None,
        "The field whose values are the groups of the metric GAUC. None: the user.",
        "finetune",
    ),
    "micro_batch_size": Setting(
        integer(1),
        64,
        "Rows that pass through the PLM at once; gradients are accumulated over the batch.",
        "text",
    ),
    "enable_amp": Setting(
        BOOLEAN_OR_AUTO,
        False,
        "Compute PLM and prompts in bf16; the backbone stays in float32. auto: if that is faster, as on GPUs and "
        "with AMX; without instructions for bf16 it takes many times as long.",
        "text",
    ),
    "backbone_amp": Setting(
        BOOLEAN,
        False,
        "With enable_amp: train the backbone in bf16 as well. It predicts in float32.",
        "text",
    ),
    "lazy_embedding_min_rows": Setting(
        optional(integer(1)),
        None,
        "In embedding tables of the backbone with at least this many rows (all ids share one table), a step "
        "updates only the rows that its batch reads; other rows neither decay nor move by momentum, and cost no "
        "time. Requires adamw or adam. None: every step updates all rows.",
        "pretrain",
    ),
    "embedding_engine": Setting(
        choice("torch", "torchrec"),
        "torch",
        "torch: every process holds complete embedding tables. torchrec: each holds some of their rows; requires "
        "learner rowwise_adagrad, and TorchRec to be installed.",
        "finetune",
    ),
    "embedding_sharding": Setting(
        choice("auto", "row_wise", "table_wise"),
        "auto",
        "With embedding_engine torchrec: which rows a process holds. row_wise: a block of each table. table_wise: "
        "whole tables. auto: what TorchRec's planner expects to be fastest, of these, for each table.",
        "finetune",
    ),
    "row_sharding": Setting(
        choice("none", "user"),
        "none",
        "none: every process holds all rows. user: each of several processes reads a part of the interaction file "
        "and holds the rows of its users; users and items are complete everywhere.",
        "finetune",
    ),
    "init_from_text": Setting(
        optional(list_of(TEXT)),
        None,
        "Id fields, such as [item_id], whose embeddings are initialized with principal components of the PLM's "
        "vectors of their text, so that ids with similar text start close together.",
        "pretrain",
    ),
    "unseen_id_embeddings": Setting(
        choice("random", "zero"),
        "zero",
        "Embeddings of ids and values that no training row contains: zero; or random, as in the paper, which "
        "keeps their initial values and adds noise to the scores of new users and items.",
        "finetune",
    ),
}
_DATA = {
    "quoting": Setting(
        optional(choice("csv")),
        None,
        "csv: values in the atomic files may be quoted, as in CSV files. None: quotes are ordinary characters.",
        "pretrain",
    ),
    "drop_missing": Setting(
        BOOLEAN,
        False,
        "Drop rows that lack a user, item, label or the time they are ordered by, and report how many. False: "
        "such rows are an error.",
        "pretrain",
    ),
    "cold_start": Setting(
        optional(TEXT),
        None,
        "item_id or user_id: split by these ids, shuffled by the seed, in the proportions of eval_args, so that "
        "validation and test rows contain only ids that are not in the training rows.",
        "pretrain",
    ),
}
_HISTORY = {
    "history_length": Setting(
        optional(integer(1)),
        None,
        "Add the user's last so many earlier clicks to each row. None: no history.",
        "pretrain",
    ),
    "history": Setting(
        choice("positive", "all"),
        "positive",
        "positive: rows with label 1 are clicks. all: every row is one, with its label.",
        "pretrain",
    ),
    "history_until": Setting(
        optional(choice("row", "training")),
        None,
        "row: validation and test rows see every earlier click, as in online serving. training: clicks of "
        "training rows alone, like a model that is not updated. None: row, and with cold_start by users training. "
        "Training rows always see earlier training rows alone.",
        "pretrain",
    ),
    "history_order": Setting(
        choice("time", "file"),
        "time",
        "What earlier means: time: by the exact time in the file; rows of equal time do not see one another. "
        "file: by the order of the rows.",
        "pretrain",
    ),
}
_PROFILES = {
    "user_knowledge": Setting(
        choice("blocks", "static", "none"),
        "none",
        "What the text of a user contains, for methods that read one. static: the user's fields. blocks: also the "
        "last profile_length items clicked in training rows before the row's block of the training period. none: "
        "there is no text of users.",
        "pretrain",
    ),
    "user_blocks": Setting(
        integer(1),
        4,
        "With user_knowledge: blocks: blocks of equal numbers of rows that the training period is cut into. "
        "Validation and test rows after it see the clicks of all training rows.",
        "pretrain",
    ),
    "profile_length": Setting(
        integer(1), 20, "With user_knowledge: blocks: most items in the text of a user, the latest.", "pretrain"
    ),
}
_OUTPUT = {
    "save_predictions": Setting(
        BOOLEAN,
        True,
        "Save the scores of validation and test rows, and the files that predict needs, in the run folder.",
        "none",
    ),
    "baselines": Setting(
        BOOLEAN,
        True,
        "Score the validation and test rows with trivial baselines too: item mean, user mean and logistic "
        "regression. They are computed once per data set and split, and kept in checkpoint_dir.",
        "none",
    ),
}
_EXPERIMENTAL = {
    "shuffle_text": Setting(
        BOOLEAN, False, "Control experiment: give each user and each item the text of another one.", "text"
    ),
}

SHARED = grouped(
    {
        "Text": _TEXT,
        "From a table": FROM_TABLE,
        "Training": _TRAINING,
        "Data": _DATA,
        "History": _HISTORY,
        "User profiles": _PROFILES,
        "Output": _OUTPUT,
        "Experimental": _EXPERIMENTAL,
    }
)

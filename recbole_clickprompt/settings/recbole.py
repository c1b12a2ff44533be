"""RecBole's own settings whose values are checked here, as RecBole does not check them."""

from __future__ import annotations

from recbole_clickprompt.settings.declaration import RECBOLE, Setting, grouped
from recbole_clickprompt.settings.types import (
    ARGUMENTS,
    BINS,
    BOOLEAN,
    CLIPPING,
    COLUMNS,
    ENCODING,
    EVALUATION,
    FIELD,
    FIELD_LIST,
    FIELD_SEPARATOR,
    GPUS,
    INTERVAL,
    INTERVALS,
    LENGTHS,
    LOG_LEVEL,
    METRIC,
    METRICS,
    NAME,
    NO_TRANSFORM,
    NO_WEIGHTS,
    PARTS,
    POSITIVE,
    SEPARATOR,
    TEXT,
    THRESHOLD,
    TOPK,
    choice,
    integer,
    must_be,
    optional,
    real,
)

__all__ = ["RECBOLES"]

_TRAINING = {
    "epochs": Setting(integer(1), RECBOLE, "The most passes over the training rows.", "finetune"),
    "train_batch_size": Setting(integer(1), RECBOLE, "Rows per optimizer step.", "finetune"),
    "learning_rate": Setting(POSITIVE, RECBOLE, "Of everything that is not pretrained.", "finetune"),
    "weight_decay": Setting(
        real(), RECBOLE, "Of matrices and embeddings; with adamw times the learning rate.", "finetune"
    ),
    "stopping_step": Setting(
        integer(0), RECBOLE, "Stop after this many epochs without a better validation metric.", "finetune"
    ),
    "eval_step": Setting(integer(0), RECBOLE, "Epochs from one validation to the next. 0: none.", "finetune"),
    "learner": Setting(
        choice("adam", "adamw", "sgd", "adagrad", "rmsprop"),
        "adamw",
        "The optimizer: adamw, adam, sgd, adagrad or rmsprop.",
        "pretrain",
    ),
    "clip_grad_norm": Setting(
        optional(CLIPPING),
        None,
        "Arguments of clip_grad_norm_, such as {max_norm: 1.0}. None: no clipping.",
        "pretrain",
    ),
    "train_neg_sample_args": Setting(
        optional(ARGUMENTS), None, "Negative sampling of training rows. None: rows have labels.", "pretrain"
    ),
    "shuffle": Setting(BOOLEAN, RECBOLE, "Shuffle the training rows before each epoch.", "pretrain"),
    "seed": Setting(integer(0, 2**32 - 1), RECBOLE, "Random seed of split, weights, order and masks.", "pretrain"),
    "reproducibility": Setting(
        BOOLEAN,
        True,
        "Same seed and machine, bit-identical result. False: a GPU may use its fastest kernels, whose last digits "
        "differ between runs; on a CPU it changes nothing.",
        "pretrain",
    ),
    "enable_scaler": Setting(
        must_be(False, "bf16, which enable_amp uses, needs no scaler"), RECBOLE, "Not used.", "pretrain"
    ),
    "transform": Setting(NO_TRANSFORM, RECBOLE, "Not used.", "pretrain"),
}
_EVALUATION = {
    "eval_args": Setting(
        EVALUATION,
        {"split": {"RS": [8, 1, 1]}, "order": "TO", "group_by": None, "mode": "labeled"},
        "How rows are split: shares of training, validation and test rows; order TO (by time) or RO (random); "
        "group_by user splits each user's rows, None all of them; mode labeled: rows have labels and nothing is "
        "sampled. Give all four together.",
        "pretrain",
    ),
    "metrics": Setting(METRICS, ["AUC", "LogLoss"], "The metrics to report.", "finetune"),
    "valid_metric": Setting(METRIC, "AUC", "The metric that selects the best epoch.", "finetune"),
    "metric_decimal_place": Setting(integer(0), 6, "Digits of reported metrics.", "finetune"),
    "loss_decimal_place": Setting(integer(0), RECBOLE, "Digits of reported losses.", "finetune"),
    "eval_batch_size": Setting(integer(1), 4096, "Rows that are evaluated at once.", "finetune"),
    "topk": Setting(optional(TOPK), RECBOLE, "Cutoffs of ranking metrics, which are not used here.", "finetune"),
}
_DATA = {
    "numerical_features": Setting(FIELD_LIST, [], "Float fields that the backbone reads.", "pretrain"),
    "load_col": Setting(optional(COLUMNS), RECBOLE, "Fields to load from each file.", "pretrain"),
    "unload_col": Setting(optional(COLUMNS), RECBOLE, "Fields not to load.", "pretrain"),
    "unused_col": Setting(
        optional(COLUMNS),
        RECBOLE,
        "Fields that are loaded for filters and the split, and are no features.",
        "pretrain",
    ),
    "benchmark_filename": Setting(
        optional(PARTS), RECBOLE, "Suffixes of the files of a data set that is split already.", "pretrain"
    ),
    "threshold": Setting(
        optional(THRESHOLD), RECBOLE, "The field that makes the label, and the least value of label 1.", "pretrain"
    ),
    "val_interval": Setting(optional(INTERVALS), RECBOLE, "Keep rows with these values only.", "pretrain"),
    "user_inter_num_interval": Setting(
        optional(INTERVAL), RECBOLE, "Keep users with this many rows only.", "pretrain"
    ),
    "item_inter_num_interval": Setting(
        optional(INTERVAL), RECBOLE, "Keep items with this many rows only.", "pretrain"
    ),
    "filter_inter_by_user_or_item": Setting(
        BOOLEAN, RECBOLE, "Drop rows whose user or item was filtered out.", "pretrain"
    ),
    "rm_dup_inter": Setting(
        optional(choice("first", "last")), RECBOLE, "Of rows with the same user and item keep one.", "pretrain"
    ),
    "normalize_field": Setting(optional(FIELD_LIST), RECBOLE, "Float fields to scale to 0..1.", "pretrain"),
    "normalize_all": Setting(optional(BOOLEAN), RECBOLE, "Scale all float fields to 0..1.", "pretrain"),
    "discretization": Setting(optional(BINS), RECBOLE, "Float fields to cut into bins, and how.", "pretrain"),
    "alias_of_user_id": Setting(
        optional(FIELD_LIST), RECBOLE, "Fields that share the ids of the user field.", "pretrain"
    ),
    "alias_of_item_id": Setting(
        optional(FIELD_LIST), RECBOLE, "Fields that share the ids of the item field.", "pretrain"
    ),
    "additional_feat_suffix": Setting(
        optional(FIELD_LIST), RECBOLE, "Suffixes of further files of the data set.", "pretrain"
    ),
    "seq_len": Setting(optional(LENGTHS), RECBOLE, "The most values of a sequence field.", "pretrain"),
    "seq_separator": Setting(SEPARATOR, RECBOLE, "Between the values of a sequence.", "pretrain"),
    "field_separator": Setting(FIELD_SEPARATOR, RECBOLE, "Between the columns of an atomic file.", "pretrain"),
    "encoding": Setting(optional(ENCODING), RECBOLE, "Of the atomic files.", "pretrain"),
}
_FIELDS = {
    "USER_ID_FIELD": Setting(FIELD, RECBOLE, "The field with the user's id.", "pretrain"),
    "ITEM_ID_FIELD": Setting(FIELD, RECBOLE, "The field with the item's id.", "pretrain"),
    "LABEL_FIELD": Setting(FIELD, RECBOLE, "The field with the label, or that threshold makes.", "pretrain"),
    "TIME_FIELD": Setting(FIELD, RECBOLE, "The field with the time, for order: TO.", "pretrain"),
    "RATING_FIELD": Setting(FIELD, RECBOLE, "Not used: threshold names the rating.", "pretrain"),
    "NEG_PREFIX": Setting(FIELD, RECBOLE, "Not used: nothing is sampled.", "pretrain"),
    "LIST_SUFFIX": Setting(FIELD, RECBOLE, "Not used, as lists of items are for sequential models.", "pretrain"),
    "ITEM_LIST_LENGTH_FIELD": Setting(FIELD, RECBOLE, "Not used, as LIST_SUFFIX.", "pretrain"),
    "POSITION_FIELD": Setting(FIELD, RECBOLE, "Not used, as LIST_SUFFIX.", "pretrain"),
    "MAX_ITEM_LIST_LENGTH": Setting(integer(1), RECBOLE, "Not used, as LIST_SUFFIX.", "pretrain"),
    "HEAD_ENTITY_ID_FIELD": Setting(FIELD, RECBOLE, "Not used, as knowledge graphs are not read.", "pretrain"),
    "TAIL_ENTITY_ID_FIELD": Setting(FIELD, RECBOLE, "Not used, as HEAD_ENTITY_ID_FIELD.", "pretrain"),
    "RELATION_ID_FIELD": Setting(FIELD, RECBOLE, "Not used, as HEAD_ENTITY_ID_FIELD.", "pretrain"),
    "ENTITY_ID_FIELD": Setting(FIELD, RECBOLE, "Not used, as HEAD_ENTITY_ID_FIELD.", "pretrain"),
    "alias_of_entity_id": Setting(optional(FIELD_LIST), RECBOLE, "Not used, as HEAD_ENTITY_ID_FIELD.", "pretrain"),
    "alias_of_relation_id": Setting(
        optional(FIELD_LIST), RECBOLE, "Not used, as HEAD_ENTITY_ID_FIELD.", "pretrain"
    ),
    "preload_weight": Setting(NO_WEIGHTS, RECBOLE, "Not used.", "pretrain"),
}
_OUTPUT = {
    "gpu_id": Setting(GPUS, RECBOLE, "The GPUs to use, such as '0' or '0,1'; '' for the CPU.", "none"),
    "state": Setting(LOG_LEVEL, RECBOLE, "The least level of log lines.", "none"),
    "data_path": Setting(
        TEXT, "dataset_atomic/", "The folder with one folder of atomic files for each data set.", "none"
    ),
    "checkpoint_dir": Setting(NAME, "saved", "The folder for checkpoints and run folders.", "none"),
    "show_progress": Setting(BOOLEAN, RECBOLE, "Show progress bars.", "none"),
    "use_gpu": Setting(BOOLEAN, RECBOLE, "Use a GPU where there is one.", "none"),
    "worker": Setting(integer(0), RECBOLE, "Processes that load batches.", "none"),
    "log_wandb": Setting(BOOLEAN, RECBOLE, "Log to Weights & Biases.", "none"),
    "save_dataset": Setting(must_be(False, "it would be a pickle"), RECBOLE, "Not used.", "none"),
    "save_dataloaders": Setting(must_be(False, "they would be pickles"), RECBOLE, "Not used.", "none"),
}

RECBOLES = grouped(
    {"Training": _TRAINING, "Evaluation": _EVALUATION, "Data": _DATA, "Fields": _FIELDS, "Output": _OUTPUT}
)

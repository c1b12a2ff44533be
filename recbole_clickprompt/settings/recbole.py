"""RecBole's own settings that this package checks, because RecBole does not."""

from __future__ import annotations

from recbole_clickprompt.settings.declaration import RECBOLE, Setting, grouped
from recbole_clickprompt.settings.recbole_types import (
    ARGUMENTS,
    BINS,
    CLIPPING,
    COLUMNS,
    ENCODING,
    EVALUATION,
    FIELD,
    FIELD_SEPARATOR,
    GPUS,
    INTERVAL,
    INTERVALS,
    LENGTHS,
    LOG_LEVEL,
    METRIC,
    METRICS,
    NO_TRANSFORM,
    NO_WEIGHTS,
    PARTS,
    SEPARATOR,
    THRESHOLD,
    TOPK,
)
from recbole_clickprompt.settings.types import (
    BOOLEAN,
    FIELD_LIST,
    NAME,
    POSITIVE,
    TEXT,
    choice,
    integer,
    must_be,
    optional,
    real,
)

__all__ = ["RECBOLES"]

_TRAINING = {
    "epochs": Setting(integer(1), RECBOLE, "Maximum number of passes over the training rows.", "finetune"),
    "train_batch_size": Setting(integer(1), RECBOLE, "Rows per optimizer step.", "finetune"),
    "learning_rate": Setting(
        POSITIVE, RECBOLE, "Learning rate of all weights that are not pretrained.", "finetune"
    ),
    "weight_decay": Setting(
        real(),
        RECBOLE,
        "Weight decay of matrices and embeddings; adamw multiplies it by the learning rate.",
        "finetune",
    ),
    "stopping_step": Setting(
        integer(0),
        RECBOLE,
        "Stop after more than this many validations in a row without improvement of valid_metric.",
        "finetune",
    ),
    "eval_step": Setting(integer(0), RECBOLE, "Epochs between validations. 0: no validation.", "finetune"),
    "learner": Setting(
        choice("adam", "adamw", "sgd", "adagrad", "rmsprop", "rowwise_adagrad"),
        "adamw",
        "The optimizer: adamw, adam, sgd, adagrad or rmsprop; or rowwise_adagrad, Adagrad with one accumulated "
        "number per row of an embedding table, instead of one per weight.",
        "pretrain",
    ),
    "clip_grad_norm": Setting(
        optional(CLIPPING),
        None,
        "Arguments of clip_grad_norm_, such as {max_norm: 1.0}. None: no clipping.",
        "pretrain",
    ),
    "train_neg_sample_args": Setting(
        optional(ARGUMENTS),
        None,
        "Negative sampling of training rows. None: no sampling, as rows have labels.",
        "pretrain",
    ),
    "shuffle": Setting(BOOLEAN, RECBOLE, "Shuffle the training rows before each epoch.", "pretrain"),
    "seed": Setting(
        integer(0, 2**32 - 1), RECBOLE, "Random seed for split, weights, order and masks.", "pretrain"
    ),
    "reproducibility": Setting(
        BOOLEAN,
        True,
        "The same seed on the same machine gives a bit-identical result. False: a GPU may use faster "
        "nondeterministic kernels, whose results differ slightly between runs; no effect on a CPU.",
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
        "How rows are split: proportions of training, validation and test rows; order TO (by time) or RO "
        "(random); group_by user splits the rows of each user, None all rows together; mode labeled: rows have "
        "labels and nothing is sampled. Set all four together.",
        "pretrain",
    ),
    "metrics": Setting(METRICS, ["AUC", "LogLoss"], "The metrics to report.", "finetune"),
    "valid_metric": Setting(METRIC, "AUC", "The metric that selects the best epoch.", "finetune"),
    "metric_decimal_place": Setting(integer(0), 6, "Decimal places of reported metrics.", "finetune"),
    "loss_decimal_place": Setting(integer(0), RECBOLE, "Decimal places of reported losses.", "finetune"),
    "eval_batch_size": Setting(integer(1), 4096, "Rows per evaluation batch.", "finetune"),
    "topk": Setting(optional(TOPK), RECBOLE, "Cutoffs of ranking metrics, which are not used here.", "finetune"),
}
_DATA = {
    "numerical_features": Setting(FIELD_LIST, [], "Float fields that the backbone reads.", "pretrain"),
    "load_col": Setting(optional(COLUMNS), RECBOLE, "Fields to load from each file.", "pretrain"),
    "unload_col": Setting(optional(COLUMNS), RECBOLE, "Fields not to load.", "pretrain"),
    "unused_col": Setting(
        optional(COLUMNS),
        RECBOLE,
        "Fields that are loaded for filters and the split only, not as features.",
        "pretrain",
    ),
    "benchmark_filename": Setting(
        optional(PARTS), RECBOLE, "File suffixes of a data set that comes already split.", "pretrain"
    ),
    "threshold": Setting(
        optional(THRESHOLD),
        RECBOLE,
        "The field that determines the label, and the smallest value that means label 1.",
        "pretrain",
    ),
    "val_interval": Setting(optional(INTERVALS), RECBOLE, "Keep only rows with these values.", "pretrain"),
    "user_inter_num_interval": Setting(
        optional(INTERVAL), RECBOLE, "Keep only users with this many rows.", "pretrain"
    ),
    "item_inter_num_interval": Setting(
        optional(INTERVAL), RECBOLE, "Keep only items with this many rows.", "pretrain"
    ),
    "filter_inter_by_user_or_item": Setting(
        BOOLEAN, RECBOLE, "Drop rows whose user or item was filtered out.", "pretrain"
    ),
    "rm_dup_inter": Setting(
        optional(choice("first", "last")),
        RECBOLE,
        "Keep only the first or last of several rows with the same user and item.",
        "pretrain",
    ),
    "normalize_field": Setting(optional(FIELD_LIST), RECBOLE, "Float fields to scale to [0, 1].", "pretrain"),
    "normalize_all": Setting(optional(BOOLEAN), RECBOLE, "Scale all float fields to [0, 1].", "pretrain"),
    "discretization": Setting(optional(BINS), RECBOLE, "Float fields to discretize, and how.", "pretrain"),
    "alias_of_user_id": Setting(
        optional(FIELD_LIST), RECBOLE, "Fields that share the ids of the user field.", "pretrain"
    ),
    "alias_of_item_id": Setting(
        optional(FIELD_LIST), RECBOLE, "Fields that share the ids of the item field.", "pretrain"
    ),
    "additional_feat_suffix": Setting(
        optional(FIELD_LIST), RECBOLE, "Suffixes of additional files of the data set.", "pretrain"
    ),
    "seq_len": Setting(optional(LENGTHS), RECBOLE, "Maximum length of each sequence field.", "pretrain"),
    "seq_separator": Setting(SEPARATOR, RECBOLE, "Separator of the values of a sequence.", "pretrain"),
    "field_separator": Setting(
        FIELD_SEPARATOR, RECBOLE, "Separator of the columns of an atomic file.", "pretrain"
    ),
    "encoding": Setting(optional(ENCODING), RECBOLE, "Encoding of the atomic files.", "pretrain"),
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
        TEXT, "dataset_atomic/", "The folder that contains one folder of atomic files per data set.", "none"
    ),
    "checkpoint_dir": Setting(NAME, "saved", "The folder for checkpoints and run folders.", "none"),
    "show_progress": Setting(BOOLEAN, RECBOLE, "Show progress bars. Default: only on a terminal.", "none"),
    "use_gpu": Setting(BOOLEAN, RECBOLE, "Use a GPU if one is available.", "none"),
    "worker": Setting(integer(0), RECBOLE, "Number of processes that load batches.", "none"),
    "log_wandb": Setting(BOOLEAN, RECBOLE, "Log to Weights & Biases.", "none"),
    "save_dataset": Setting(must_be(False, "it would be a pickle"), RECBOLE, "Not used.", "none"),
    "save_dataloaders": Setting(must_be(False, "they would be pickles"), RECBOLE, "Not used.", "none"),
}

RECBOLES = grouped(
    {"Training": _TRAINING, "Evaluation": _EVALUATION, "Data": _DATA, "Fields": _FIELDS, "Output": _OUTPUT}
)

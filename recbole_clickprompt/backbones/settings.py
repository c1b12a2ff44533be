"""Settings of the backbones; their defaults are in ``props/backbone/<Backbone>.yaml``."""

from __future__ import annotations

from recbole_clickprompt.backbones import BACKBONES, WITHOUT_VECTORS
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.settings.declaration import BACKBONE, Setting, Stage, grouped
from recbole_clickprompt.settings.registry import declare
from recbole_clickprompt.settings.types import (
    BOOLEAN,
    DROPOUT,
    FEATURE_GROUPS,
    POSITIVE,
    SIZES,
    TEXT,
    WIDTHS,
    ValueType,
    choice,
    integer,
    list_of,
    must_be,
    optional,
    real,
)
from recbole_clickprompt.settings.values import Settings

__all__ = ["SETTINGS", "check_history_settings", "check_takes_fields"]


def _of_backbone(type: ValueType, meaning: str) -> Setting:
    """A setting whose default is in the property file of each backbone that has it."""
    stage: Stage = "pretrain"  # the whole backbone is pretrained
    return Setting(type, BACKBONE, meaning, stage)


_BACKBONE = {
    "backbone": Setting(choice(*BACKBONES), "DCNV2", "The CTR model: one of props/backbone.", "pretrain"),
}
_HISTORY = {
    "history_pooling": Setting(
        choice("none", "mean", "attention", "similarity_histogram"),
        "none",
        "With history_length: the history as further fields of the backbone. mean: the mean of the clicked items' "
        "embeddings. attention: their sum, weighted by DIN's attention to the target. similarity_histogram: the "
        "shares of clicks by their similarity to the target. none: only DIN reads it, through its attention.",
        "pretrain",
    ),
    "attention_hidden_size": Setting(
        integer(1), 64, "DIN and history_pooling: attention: width of the MLP that weighs clicks.", "pretrain"
    ),
    "attention_softmax": Setting(
        BOOLEAN, False, "DIN and history_pooling: attention: weights of a row's clicks sum to 1.", "pretrain"
    ),
}
_OF_SINGLE_BACKBONES = {
    "embedding_size": _of_backbone(integer(1), "Width of a feature's embedding."),
    "mlp_hidden_size": _of_backbone(WIDTHS, "Widths of the MLP."),
    "dropout_prob": _of_backbone(DROPOUT, "Dropout, of the MLP in most backbones."),
    "dropout_probs": _of_backbone(list_of(DROPOUT), "AutoInt: dropout of attention, MLP and embeddings."),
    "cross_layer_num": _of_backbone(integer(1), "Cross layers."),
    "mixed": _of_backbone(BOOLEAN, "DCNV2: a mixture of low-rank experts."),
    "structure": _of_backbone(choice("parallel", "stacked"), "DCNV2: cross layers next to the MLP, or below it."),
    "expert_num": _of_backbone(integer(1), "DCNV2 with mixed: experts per cross layer."),
    "low_rank": _of_backbone(
        integer(1),
        "DCNV2 with mixed: rank of an expert. WuKong: columns that products of embeddings are projected to.",
    ),
    "reg_weight": _of_backbone(real(), "L2 penalty of RecBole's loss, not used here: set weight_decay instead."),
    "attention_size": _of_backbone(integer(1), "Width of attention."),
    "n_layers": _of_backbone(integer(1), "AutoInt, FiGNN: layers of attention or of the graph."),
    "num_heads": _of_backbone(integer(1), "Attention heads; FinalMLP: blocks of the bilinear fusion."),
    "has_residual": _of_backbone(BOOLEAN, "AutoInt: residual connections."),
    "hidden_dropout_prob": _of_backbone(DROPOUT, "Dropout of hidden states."),
    "attn_dropout_prob": _of_backbone(DROPOUT, "Dropout of attention."),
    "cin_layer_size": _of_backbone(WIDTHS, "xDeepFM: feature maps of each CIN layer."),
    "direct": _of_backbone(BOOLEAN, "xDeepFM: all maps go to the output and to the next layer. False: half each."),
    "use_inner": _of_backbone(BOOLEAN, "PNN: inner products of pairs."),
    "use_outer": _of_backbone(BOOLEAN, "PNN: outer products of pairs."),
    "fields": _of_backbone(
        optional(FEATURE_GROUPS),
        "FFM, FwFM: the features of each field, by number. None: each feature is a field.",
    ),
    "double_tower": _of_backbone(must_be(True, "only DSSM reads it, and it has two towers"), "DSSM: two towers."),
    "order_list": _of_backbone(WIDTHS, "EulerNet: order vectors of each layer."),
    "drop_ex": _of_backbone(DROPOUT, "EulerNet: dropout of modulus and phase."),
    "drop_im": _of_backbone(DROPOUT, "EulerNet: dropout of real and imaginary part."),
    "apply_norm": _of_backbone(BOOLEAN, "EulerNet: layer norm after each layer."),
    "phase": _of_backbone(
        choice("teacher_training", "finetuning"), "KD_DAGFM: the teacher network, or the student."
    ),
    "type": _of_backbone(choice("inner", "outer"), "KD_DAGFM: how the student weighs a pair of fields."),
    "t_depth": _of_backbone(integer(1), "KD_DAGFM: layers of the teacher."),
    "depth": _of_backbone(integer(1), "KD_DAGFM: layers of the student."),
    "conv_channels": _of_backbone(WIDTHS, "FGCNN: channels of each convolution."),
    "conv_kernel_size": _of_backbone(integer(1), "FGCNN: neighboring fields under a convolution."),
    "pooling_size": _of_backbone(integer(1), "FGCNN: fields that pooling merges into one."),
    "recombined_channels": _of_backbone(integer(1), "FGCNN: new fields for each pooled one."),
    "reduction_ratio": _of_backbone(
        POSITIVE,
        "FiBiNET: number of fields divided by the hidden width of SENET. MaskNet: hidden width of a mask divided "
        "by its output width.",
    ),
    "bilinear_type": _of_backbone(
        choice("all", "each", "interaction"),
        "FiBiNET: one matrix for all pairs, one per first field, or one per pair.",
    ),
    "mlp1_hidden_size": _of_backbone(WIDTHS, "FinalMLP: widths of the first MLP."),
    "mlp2_hidden_size": _of_backbone(WIDTHS, "FinalMLP: widths of the second MLP."),
    "gate_hidden_size": _of_backbone(SIZES, "FinalMLP: widths of the gates."),
    "fs1_context": _of_backbone(list_of(TEXT), "FinalMLP: features that gate the first MLP."),
    "fs2_context": _of_backbone(list_of(TEXT), "FinalMLP: features that gate the second MLP."),
    "num_blocks": _of_backbone(integer(1), "MaskNet: mask blocks."),
    "block_size": _of_backbone(integer(1), "MaskNet: width of a block's output."),
    "num_fm": _of_backbone(integer(1), "WuKong: output embeddings of a layer's factorization machine."),
    "num_linear": _of_backbone(integer(1), "WuKong: output embeddings of a layer's linear compression."),
    "fm_hidden_size": _of_backbone(SIZES, "WuKong: widths of the MLP in a factorization machine."),
}

SETTINGS = grouped(
    {"Backbone": _BACKBONE, "History": _HISTORY, "Settings of single backbones": _OF_SINGLE_BACKBONES}
)
declare(SETTINGS)


def check_takes_fields(backbone: str, reader: str) -> None:
    """Rejects backbones whose embeddings are not one tensor of fields of equal width.

    Args:
        backbone: The setting ``backbone``.
        reader: What needs such fields, such as ``KAR adds fields``, for the message.

    Raises:
        SettingError: The backbone takes embeddings by the names of fields, or in a shape of its own.
    """
    if backbone in WITHOUT_VECTORS:
        able = ", ".join(name for name in BACKBONES if name not in WITHOUT_VECTORS)
        raise SettingError(f"{reader}, which {backbone} does not support; use one of {able}")


def check_history_settings(settings: Settings, *, reader: str | None = None) -> None:
    """Rejects settings of histories that do not go together.

    Args:
        settings: Of the run.
        reader: The setting by which something other than the backbone reads histories, if there is one.

    Raises:
        SettingError: A history is asked for and read by nothing, or the other way around; or the backbone takes no
            further fields.
    """
    backbone, pooling = settings["backbone"], settings["history_pooling"]
    if pooling != "none" and backbone in WITHOUT_VECTORS:
        able = ", ".join(name for name in BACKBONES if name not in (*WITHOUT_VECTORS, "DIN"))
        raise SettingError(
            f"history_pooling: {pooling} adds fields to the backbone, which {backbone} does not support; use one "
            f"of {able}, or history_pooling: none"
        )
    if pooling != "none" and backbone == "DIN":
        raise SettingError(f"history_pooling: {pooling} does not go with DIN, which has its own; leave it out")
    if settings["history_length"] is None:
        for name, default in (("history", "positive"), ("history_until", None), ("history_order", "time")):
            if settings[name] != default and not (name == "history_order" and _has_blocks(settings)):
                raise SettingError(
                    f"{name}: {settings[name]} is about click histories, which history_length adds; set it, for "
                    f"example to 20, or leave {name} out"
                )
    if backbone == "DIN":
        reader = "backbone: DIN"
    elif pooling != "none":
        reader = f"history_pooling: {pooling}"
    if settings["history_length"] is None and reader is not None:
        raise SettingError(f"{reader} reads each user's earlier clicks; set history_length, for example to 20")
    if settings["history_length"] is not None and reader is None:
        raise SettingError(
            f"history_length is {settings['history_length']}, but {backbone} does not read histories by itself; "
            "set history_length to ~, or history_pooling to mean, attention or similarity_histogram, or use DIN"
        )


def _has_blocks(settings: Settings) -> bool:
    """Whether profiles of users are taken as of times."""
    return settings["user_knowledge"] == "blocks"

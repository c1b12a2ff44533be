"""Builds and evaluates FLIP's pretraining."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from recbole.utils import FeatureType
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import Backbone, build_backbone
from recbole_clickprompt.backbones.base import feature_names
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.flip.masked_fields import FieldPredictor, IdMasker, value_counts
from recbole_clickprompt.methods.flip.masked_tokens import TokenPredictor
from recbole_clickprompt.methods.flip.pretraining import FLIPPretraining, Weights
from recbole_clickprompt.methods.flip.projection import Projection
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.text_inputs import build_masked_text
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.gradient_caching import whole_batch_size
from recbole_clickprompt.trainer.running_metrics import compute_and_reset

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

__all__ = ["build_pretraining", "evaluate_pretraining"]

_NEGATIVES = 25  # as published
_VALUE_SIZE = 32  # as published


def _weights(settings: Settings) -> Weights:
    """Weights of the three losses."""
    return Weights(settings["contrast_weight"], settings["masked_field_weight"], settings["mlm_weight"])


def build_pretraining(config: Settings, dataset: TextSource) -> FLIPPretraining:
    """The model of FLIP's pretraining, with the modules of the losses whose weight is above 0.

    Args:
        config: Settings of the run.
        dataset: The rows to train on, by whose frequencies negatives are drawn.

    Raises:
        SettingError: As for ``build_encoder`` and ``build_masked_text``; or there is no field to mask.
        WeightsError: The PLM cannot be obtained.
    """
    weights = _weights(config)
    backbone = build_backbone(config, dataset)
    plm, _ = build_encoder(config)
    input_size = backbone.width(dataset[torch.arange(min(2, len(dataset)))])
    dropout = config["pretrain_head_dropout"]
    sides = (input_size, plm.hidden_size)
    projections = tuple(Projection(size, config["contrast_width"], dropout) for size in sides)
    masker = _id_masker(config, dataset, backbone) if weights.masked_field else None
    return FLIPPretraining(
        backbone=backbone,
        plm=plm,
        text=dataset.token_table(config["plm"]),
        weights=weights,
        projections=(projections[0], projections[1]) if weights.contrast else None,
        temperature=config["contrast_temperature"],
        keys=[dataset.uid_field, dataset.iid_field] if config["mask_equal"] else [],
        id_masker=masker,
        field_predictor=None if masker is None else _field_predictor(masker, input_size, plm.hidden_size),
        token_predictor=_token_predictor(config, dataset, plm, input_size) if weights.mlm else None,
        enable_amp=config["enable_amp"],
    )


def _id_masker(config: Settings, dataset: TextSource, backbone: Backbone) -> IdMasker:
    kinds = dataset.field2type
    names = [name for name in feature_names(backbone.model) if kinds[name] is FeatureType.TOKEN]
    if not names:
        raise SettingError(
            "masked_field_weight is above 0, but no feature of the rows has a single id to mask; set it to 0"
        )
    counts = [value_counts(dataset, name) for name in names]
    return IdMasker(names, counts, mask_ratio=config["mask_ratio"], negatives=_NEGATIVES)


def _field_predictor(masker: IdMasker, input_size: int, hidden_size: int) -> FieldPredictor:
    return FieldPredictor(
        input_size=input_size,
        hidden_size=hidden_size,
        num_fields=len(masker.fields),
        num_values=masker.num_values,
        value_size=_VALUE_SIZE,
    )


def _token_predictor(
    config: Settings, dataset: TextSource, plm: PromptedEncoder, input_size: int
) -> TokenPredictor:
    vocabulary: Tensor = torch.arange(plm.encoder.config.vocab_size)
    if config["mlm_candidates"] == "data":
        vocabulary = dataset.token_table(config["plm"]).vocabulary()
    return TokenPredictor(
        text=build_masked_text(config, dataset, plm),
        hidden_size=plm.hidden_size,
        input_size=input_size,
        vocabulary=vocabulary,
        dropout=config["pretrain_head_dropout"],
    )


def evaluate_pretraining(config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
    """Evaluates each loss within batches of ``pretrain_batch_size`` rows, in the order of the data.

    Rows are masked once, by the seed of the run. For the size of batches see ``whole_batch_size``.

    Args:
        config: Settings of the run.
        model: A ``FLIPPretraining`` on the run's device.
        data: Loader of the rows.

    Returns:
        ``<loss>_loss`` (nats) and ``<loss>_accuracy`` of ``contrast``, ``masked_field`` and ``mlm``, if their
        weights are above 0. The accuracy of ``masked_field`` is the share of masked values that score higher than
        all negatives.
    """
    assert isinstance(model, FLIPPretraining)
    device, dataset = config["device"], data._dataset
    size = whole_batch_size(len(dataset), config["pretrain_batch_size"])
    model.eval()
    compute_and_reset(model.metrics, device)  # discards the sums of training
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config["seed"])
        for start in range(0, len(dataset), size):
            rows = data.transform(dataset, dataset[start : start + size]).to(device)
            model.measure(rows, config["micro_batch_size"])
    return compute_and_reset(model.metrics, device)

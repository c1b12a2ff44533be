"""FLIP as a method: one stage of three losses, then one of three forms of finetuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.backbones.settings import check_history_settings
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Curve, Method, check_text_fields
from recbole_clickprompt.methods.clickprompt.pretraining import MLM_CURVES, Pretraining
from recbole_clickprompt.methods.flip.settings import FUSION_START, SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.protocols import StageModel

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from torch import nn

__all__ = ["FLIPMethod"]


class _Alignment(Pretraining):
    """The stage before finetuning: ids and text are contrasted, and each is recovered from the other."""

    def label(self, config: Settings) -> str:
        """``<backbone>-flip``, the same for all forms of finetuning, which share its checkpoints."""
        return f"{config['backbone']}-flip"

    def reads_text(self, config: Settings) -> bool:
        """Always."""
        return True

    def training_rows(
        self, config: Settings, train_data: AbstractDataLoader, valid_data: AbstractDataLoader | None
    ) -> Dataset:
        """See ``pretraining_rows``; SettingError also if there are fewer than two to contrast."""
        rows = super().training_rows(config, train_data, valid_data)
        if config["contrast_weight"] and len(rows) < 2:
            raise SettingError(
                f"the contrast needs two rows or more, and pretrain_rows leaves {len(rows)}; raise it, or set "
                "contrast_weight to 0"
            )
        return rows

    def build(self, config: Settings, dataset: TextSource) -> StageModel:
        """A ``FLIPPretraining``."""
        from recbole_clickprompt.methods.flip.builders import build_pretraining

        return build_pretraining(config, dataset)

    def evaluate(self, config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
        """See ``evaluate_pretraining``."""
        from recbole_clickprompt.methods.flip.builders import evaluate_pretraining

        return evaluate_pretraining(config, model, data)

    def selection_metric(self, config: Settings, *, bigger: bool) -> str:
        """Accuracy or loss of the first loss whose weight is above 0."""
        return f"{_losses(config)[0]}_{'accuracy' if bigger else 'loss'}"


class FLIPMethod(Method):
    """Backbone and language model, aligned in pretraining; finetuned together or one of them alone."""

    name = "FLIP"
    stages = (_Alignment(),)
    serves_text = True
    prediction_columns = {
        "logit_ctr": "logit of the CTR model",
        "logit_plm": "logit of the language model",
        "fusion_weight": "share of the CTR model's logit",
    }
    curves = (
        Curve(
            "pretrain", "contrast_loss", "Contrast: loss", "nats",
            "Mean cross entropy of finding a row's text among those of the batch, and the other way around.",
        ),
        Curve(
            "pretrain", "contrast_accuracy", "Contrast: accuracy", "share",
            "Share of rows whose own text is the most similar one of the batch, and of texts likewise.",
        ),
        Curve(
            "pretrain", "masked_field_loss", "Masked fields: loss", "nats",
            "Mean noise-contrastive loss of the masked ids.",
        ),
        Curve(
            "pretrain", "masked_field_accuracy", "Masked fields: accuracy", "share",
            "Share of masked ids that score higher than all negatives.",
        ),
        *MLM_CURVES,
    )  # fmt: skip

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that nothing would read, or if ``text_fields`` is missing."""
        towers, pretrains = settings["finetune_towers"], _pretrains(settings)
        if pretrains:
            _check_losses(settings)
        if pretrains or towers != "ids":
            check_text_fields(settings)
        if pretrains or towers != "text":
            check_history_settings(settings)
        else:
            for name in ("history_length", "init_from_text"):
                if settings[name]:
                    raise SettingError(
                        f"{name} has no effect: finetune_towers: text has no CTR model to read it; leave it out, "
                        "or set finetune_towers to both or ids"
                    )
        if towers != "both" and settings["fusion_weight"] != FUSION_START:
            raise SettingError(
                f"fusion_weight has no effect: finetune_towers: {towers} has one logit; leave it out, or set "
                "finetune_towers to both"
            )
        if towers == "text" and settings["load_pretrained"] != "all":
            raise SettingError(
                f"load_pretrained: {settings['load_pretrained']} has no effect: it is about the CTR model, which "
                "finetune_towers: text leaves out; leave load_pretrained out, or set finetune_towers to both or "
                "ids"
            )
        if "plm_interaction_layers" in settings and settings["plm_interaction_layers"] is not None:
            raise SettingError(
                "plm_interaction_layers needs texts that are masked once, and FLIP masks each batch again; leave "
                "it out"
            )

    def model_class(self) -> type:
        from recbole_clickprompt.methods.flip.model import FLIP

        return FLIP

    def serves_text_with(self, settings: Settings) -> bool:
        """True unless ``finetune_towers`` is ``ids``."""
        return settings["finetune_towers"] != "ids"

    def reads_text(self, settings: Settings) -> bool:
        """True if finetuning has the language model, or embeddings are initialized from text."""
        return self.serves_text_with(settings) or bool(settings["init_from_text"])

    def begin_finetuning(
        self,
        config: Settings,
        model: nn.Module,
        *,
        start: Path | None,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
        all_rows: AbstractDataLoader,
    ) -> None:
        """Loads the pretrained towers that the form has; a backbone's unseen ids as for ``ClickPromptNoPLM``."""
        from recbole_clickprompt.methods.clickprompt.pretraining import pretraining_rows
        from recbole_clickprompt.methods.flip.model import FLIP
        from recbole_clickprompt.methods.initial_weights import begin_backbone
        from recbole_clickprompt.trainer.pretrained_checkpoint import load_components

        assert isinstance(model, FLIP)
        trained_on = [train_data._dataset]
        if start is not None:
            tables_only = ("backbone",) if config["load_pretrained"] == "embeddings" else ()
            load_components(model, start, model.pretrained_components, embeddings_of=tables_only)
            if config["unseen_id_embeddings"] == "zero":
                trained_on.append(pretraining_rows(config, all_rows, valid_data))
        if model.reads_ids:
            texts_of = all_rows._dataset if start is None else None
            begin_backbone(config, model.backbone.model, trained_on=trained_on, texts_of=texts_of)

    def title(self, config: Settings) -> str:
        forms = {
            "both": f"FLIP ({config['backbone']} and PLM)",
            "ids": f"FLIP ({config['backbone']} alone)",
            "text": f"FLIP (PLM alone, aligned with {config['backbone']})",
        }
        return forms[config["finetune_towers"]]


def _pretrains(settings: Settings) -> bool:
    return settings["train_stage"] != "finetune" and settings["pretrain_epochs"] > 0


def _losses(settings: Settings) -> list[str]:
    """Names of the losses whose weight is above 0."""
    return [name for name in ("contrast", "masked_field", "mlm") if settings[f"{name}_weight"]]


def _check_losses(settings: Settings) -> None:
    """Raises SettingError if there is no loss, or no other row to contrast a row with."""
    if not _losses(settings):
        raise SettingError(
            "contrast_weight, masked_field_weight and mlm_weight are all 0, so pretraining has no loss; raise one "
            "of them, or set pretrain_epochs to 0"
        )
    if settings["contrast_weight"] and settings["pretrain_batch_size"] < 2:
        raise SettingError(
            f"pretrain_batch_size must be an integer, 2 or more, got {settings['pretrain_batch_size']}: FLIP "
            "contrasts the rows of a batch; raise it, or set contrast_weight to 0"
        )

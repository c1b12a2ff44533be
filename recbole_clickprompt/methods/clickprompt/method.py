"""The two methods of ClickPrompt: finetuning with the language model, or the CTR model alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.backbones.settings import check_history_settings
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Curve, Method, check_text_fields
from recbole_clickprompt.methods.clickprompt.pretraining import MLM_CURVES, Pretraining
from recbole_clickprompt.methods.clickprompt.settings import WITH_PLM, WITHOUT_PLM
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

__all__ = ["ClickPromptMethod", "ClickPromptNoPLMMethod"]


class _ClickPromptFamily(Method):
    """What both methods share: the pretraining stage, and how finetuning starts from its result."""

    stages = (Pretraining(),)
    curves = (
        *MLM_CURVES,
        Curve(
            "pretrain", "replaced_item_loss", "Pretraining: replaced items, loss", "nats",
            "Mean cross entropy of distinguishing rows from the same rows with the item of another row.",
        ),
        Curve(
            "pretrain", "replaced_item_accuracy", "Pretraining: replaced items, accuracy", "share",
            "Share of rows of both kinds that were classified correctly; chance is one half.",
        ),
    )  # fmt: skip

    def check(self, settings: Settings) -> None:
        """Raises SettingError if text is read but ``text_fields`` is missing, or history settings conflict."""
        check_history_settings(settings)
        if (
            settings["history_length"] is not None
            and settings["pretrain_data"] == "train_valid"
            and settings["train_stage"] != "finetune"
            and settings["history_until"] != "training"
        ):
            raise SettingError(
                "pretrain_data: train_valid would read labels of validation rows in the histories of later ones; "
                "set history_until: training, or pretrain_data: train"
            )
        (stage,) = self.stages
        reads_text = self.reads_text(settings) or (
            settings["train_stage"] != "finetune" and stage.is_enabled(settings) and stage.reads_text(settings)
        )
        if reads_text:
            check_text_fields(settings)

    def reads_text(self, settings: Settings) -> bool:
        """True for the model with the PLM, and if embeddings are initialized from text."""
        return self.serves_text or bool(settings["init_from_text"])

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
        """See ``finetuning.begin_finetuning``."""
        from recbole_clickprompt.methods.clickprompt.finetuning import begin_finetuning

        begin_finetuning(
            config, model, start=start, train_data=train_data, valid_data=valid_data, all_rows=all_rows
        )


class ClickPromptMethod(_ClickPromptFamily):
    """CTR model and prompted language model together: ``sigmoid(a * y_ctr + (1 - a) * y_plm)`` (Eq. 9)."""

    name = "ClickPrompt"
    serves_text = True
    prediction_columns = {
        "logit_ctr": "logit of the CTR model",
        "logit_plm": "logit of the language model",
        "fusion_weight": "share of the CTR model's logit",
    }

    def settings(self) -> Mapping[str, Setting]:
        return WITH_PLM

    def model_class(self) -> type:
        from recbole_clickprompt.methods.clickprompt.model import ClickPrompt

        return ClickPrompt

    def title(self, config: Settings) -> str:
        return f"ClickPrompt with PLM ({_backbone_title(config)})"

    def attention(self, settings: Settings) -> Callable[[Any, Any, Sequence[int]], Any] | None:
        """``attention_table``; None for a model that is finetuned without prompts."""
        from recbole_clickprompt.methods.clickprompt.attention import attention_table

        reads_prompts = "finetune_prompts" not in settings or settings["finetune_prompts"]
        return attention_table if reads_prompts else None


class ClickPromptNoPLMMethod(_ClickPromptFamily):
    """The CTR model alone, started from pretraining (Eq. 10); without pretraining, the plain CTR model."""

    name = "ClickPromptNoPLM"
    shards = True
    prediction_columns = {"logit_ctr": "logit of the CTR model"}
    aliases = {name: {"backbone": name, "train_stage": "finetune"} for name in BACKBONES}

    def settings(self) -> Mapping[str, Setting]:
        return WITHOUT_PLM

    def model_class(self) -> type:
        from recbole_clickprompt.methods.clickprompt.model import ClickPromptNoPLM

        return ClickPromptNoPLM

    def title(self, config: Settings) -> str:
        backbone = _backbone_title(config)
        return backbone if _is_plain(config) else f"ClickPrompt without PLM ({backbone})"

    def run_name(self, config: Settings) -> str:
        """The plain backbone, which has an alias, is named after the backbone."""
        return config["backbone"] if _is_plain(config) else self.name


def _backbone_title(config: Settings) -> str:
    pooling = config["history_pooling"]
    return config["backbone"] if pooling == "none" else f"{config['backbone']}, {pooling} of clicks"


def _is_plain(config: Settings) -> bool:
    """Whether the CTR model is trained without pretraining."""
    return config["train_stage"] == "finetune" and not config["pre_model_path"]

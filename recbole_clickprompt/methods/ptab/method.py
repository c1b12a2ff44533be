"""PTab as a method: a language model alone, without CTR model and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.methods.clickprompt.pretraining import MLM_CURVES, Pretraining
from recbole_clickprompt.methods.ptab.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.protocols import StageModel

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

__all__ = ["PTabMethod"]


class _MaskedLanguageModeling(Pretraining):
    """The pretraining stage: masked language modeling of the rows' text."""

    def label(self, config: Settings) -> str:
        """``PTab-pretrained``, for all backbones."""
        return "PTab-pretrained"

    def reads_text(self, config: Settings) -> bool:
        """Always."""
        return True

    def build(self, config: Settings, dataset: TextSource) -> StageModel:
        """A ``MaskedLM``."""
        from recbole_clickprompt.methods.ptab.model import build_masked_lm

        return build_masked_lm(config, dataset)

    def begin(self, config: Settings, dataset: TextSource, model: nn.Module, previous: Path | None) -> None:
        """Does nothing: the language model is already pretrained."""

    def evaluate(self, config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
        """See ``evaluate_masked_lm``."""
        from recbole_clickprompt.methods.ptab.model import evaluate_masked_lm

        return evaluate_masked_lm(config, model, data)

    def selection_metric(self, config: Settings, *, bigger: bool) -> str:
        """``mlm_accuracy`` or ``mlm_loss``."""
        return "mlm_accuracy" if bigger else "mlm_loss"


class PTabMethod(Method):
    """A language model alone: ``sigmoid(head(pool(text)))``."""

    name = "PTab"
    stages = (_MaskedLanguageModeling(),)
    serves_text = True
    prediction_columns = {"logit_plm": "logit of the language model"}
    curves = MLM_CURVES

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError if histories are asked for, which only CTR models read."""
        if settings["history_length"] is not None:
            raise SettingError(
                "history_length has no effect: PTab has no CTR model to read histories; leave it out"
            )

    def model_class(self) -> type:
        from recbole_clickprompt.methods.ptab.model import PTab

        return PTab

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
        """Loads the pretrained language model; the head starts from random weights."""
        from recbole_clickprompt.trainer.pretrained_checkpoint import load_components

        if start is not None:
            load_components(model, start, ("plm",))

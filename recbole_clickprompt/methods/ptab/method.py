"""PTab as a method: no CTR model and no prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.methods.clickprompt.pretraining import MLM_CURVES, Pretraining
from recbole_clickprompt.methods.ptab.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting

__all__ = ["PTabMethod"]


class _MaskedLanguageModeling(Pretraining):
    """The pretraining stage: masked language modeling of the rows' text."""

    def label(self, config: Any) -> str:
        return "PTab-pretrained"

    def reads_text(self, config: Any) -> bool:
        return True

    def build(self, config: Any, dataset: Any) -> Any:
        from recbole_clickprompt.methods.ptab.model import build_masked_lm

        return build_masked_lm(config, dataset)

    def begin(self, config: Any, dataset: Any, model: Any, previous: Path | None) -> None:
        """Nothing: the language model comes pretrained."""

    def evaluate(self, config: Any, model: Any, data: Any) -> dict[str, float]:
        from recbole_clickprompt.methods.ptab.model import evaluate_masked_lm

        return evaluate_masked_lm(config, model, data)

    def selection_metric(self, config: Any, *, bigger: bool) -> str:
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

    def model_class(self) -> type:
        from recbole_clickprompt.methods.ptab.model import PTab

        return PTab

    def begin_finetuning(
        self, config: Any, model: Any, *, start: Path | None, train_data: Any, valid_data: Any, all_rows: Any
    ) -> None:
        from recbole_clickprompt.trainer.pretrained_checkpoint import load_components

        if start is not None:
            load_components(model, start, ("plm",))

"""CTRL as a method: a stage that contrasts ids and text, and the backbone alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.backbones.settings import check_history_settings
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Curve, Method, check_text_fields
from recbole_clickprompt.methods.clickprompt.pretraining import Pretraining
from recbole_clickprompt.methods.ctrl.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.protocols import StageModel

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from torch import nn

__all__ = ["CTRLMethod"]


class _ContrastStage(Pretraining):
    """The stage before finetuning: representations of ids and of text are made to agree."""

    name = "contrast"

    def label(self, config: Settings) -> str:
        """``<backbone>-contrast``."""
        return f"{config['backbone']}-contrast"

    def reads_text(self, config: Settings) -> bool:
        """Always."""
        return True

    def training_rows(
        self, config: Settings, train_data: AbstractDataLoader, valid_data: AbstractDataLoader | None
    ) -> Dataset:
        """See ``pretraining_rows``; SettingError also if there are fewer than two, which have no negatives."""
        rows = super().training_rows(config, train_data, valid_data)
        if len(rows) < 2:
            raise SettingError(
                f"the contrast needs two rows or more, and pretrain_rows leaves {len(rows)}; raise it, or leave "
                "it out"
            )
        return rows

    def build(self, config: Settings, dataset: TextSource) -> StageModel:
        """A ``Contrast``."""
        from recbole_clickprompt.methods.ctrl.model import build_contrast

        return build_contrast(config, dataset)

    def evaluate(self, config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
        """See ``evaluate_contrast``."""
        from recbole_clickprompt.methods.ctrl.model import evaluate_contrast

        return evaluate_contrast(config, model, data)

    def selection_metric(self, config: Settings, *, bigger: bool) -> str:
        """``contrast_accuracy`` or ``contrast_loss``."""
        return "contrast_accuracy" if bigger else "contrast_loss"


class CTRLMethod(Method):
    """The backbone alone, started from a contrast of its representation with that of the text."""

    name = "CTRL"
    stages = (_ContrastStage(),)
    prediction_columns = {"logit_ctr": "logit of the CTR model"}
    curves = (
        Curve(
            "contrast", "contrast_loss", "Contrast: loss", "nats",
            "Mean cross entropy of finding a row's text among those of the batch, and the other way around.",
        ),
        Curve(
            "contrast", "contrast_accuracy", "Contrast: accuracy", "share",
            "Share of rows whose own text is the most similar one of the batch, and of texts likewise.",
        ),
    )  # fmt: skip

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError if ``text_fields`` is missing, or settings contradict each other."""
        (stage,) = self.stages
        check_history_settings(settings)
        if settings["train_stage"] != "finetune" and stage.is_enabled(settings):
            check_text_fields(settings)
            if settings["pretrain_batch_size"] < 2:
                raise SettingError(
                    "pretrain_batch_size must be an integer, 2 or more, got "
                    f"{settings['pretrain_batch_size']}: CTRL contrasts the rows of a batch"
                )
        width, subspaces = settings["contrast_width"], settings["contrast_subspaces"]
        if width % subspaces:
            raise SettingError(
                f"contrast_subspaces is {subspaces}, which does not divide contrast_width: {width}; change one "
                "of them"
            )

    def model_class(self) -> type:
        from recbole_clickprompt.methods.ctrl.model import CTRL

        return CTRL

    def reads_text(self, settings: Settings) -> bool:
        """True if embeddings are initialized from text; the backbone alone reads none."""
        return bool(settings["init_from_text"])

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
        """As for ``ClickPromptNoPLM``: loads the backbone, whose last layer the contrast has left as it was."""
        from recbole_clickprompt.methods.clickprompt.finetuning import begin_finetuning

        begin_finetuning(
            config, model, start=start, train_data=train_data, valid_data=valid_data, all_rows=all_rows
        )

    def title(self, config: Settings) -> str:
        return f"CTRL ({config['backbone']})"

"""PRINTRepaired as a method: a CTR model with histories and a frozen language model that reads pairs of texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.backbones.settings import check_history_settings, check_takes_fields
from recbole_clickprompt.methods.base import Method, check_text_fields, refuse_unread, warn_of_row_fields
from recbole_clickprompt.methods.print_repaired.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

__all__ = ["PRINTRepairedMethod"]


class PRINTRepairedMethod(Method):
    """A CTR model that reads the relevance of the user's and the item's text, and an incentive derived from it."""

    name = "PRINTRepaired"
    serves_text = True
    prediction_columns = {"logit_ctr": "logit of the CTR model", "logit_relevance": "incentive by relevance"}

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that nothing would read or that contradict each other."""
        check_text_fields(settings)
        refuse_unread(
            settings,
            {
                "pre_model_path": "PRINTRepaired has no stage before finetuning",
                "plm_learning_rate": "PRINTRepaired's language model is frozen",
            },
        )
        check_takes_fields(settings["backbone"], "PRINTRepaired adds the vector of a pair as a field")
        check_history_settings(settings, reader="PRINTRepaired")

    def model_class(self) -> type:
        from recbole_clickprompt.methods.print_repaired.model import PRINTRepaired

        return PRINTRepaired

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
        """Sets embeddings of the backbone as in ``ClickPromptNoPLM`` without pretraining.

        Raises:
            SettingError: As for ``texts_by_level``.
        """
        from recbole_clickprompt.methods.initial_weights import begin_backbone
        from recbole_clickprompt.methods.print_repaired.model import PRINTRepaired

        assert isinstance(model, PRINTRepaired)
        warn_of_row_fields(all_rows._dataset, self.name)
        assert model.pairs  # computed now, so that errors are raised before training
        begin_backbone(config, model.backbone.model, trained_on=[train_data._dataset], texts_of=all_rows._dataset)

    def title(self, config: Settings) -> str:
        return f"PRINTRepaired ({config['backbone']})"

"""CTR-BERT as a method: two towers, without a stage before finetuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.backbones.settings import check_history_settings
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method, check_text_fields, warn_of_row_fields
from recbole_clickprompt.methods.ctrbert.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

__all__ = ["CTRBERTMethod"]


class CTRBERTMethod(Method):
    """Two language models, one for the text of the user and one for that of the item, and an MLP on their vectors.

    Known users and items are scored from stored vectors, so serving reads no text of rows: ``serves_text`` is
    False.
    """

    name = "CTRBERT"

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that nothing would read, or if ``text_fields`` is missing."""
        check_text_fields(settings)
        if settings["pre_model_path"]:
            raise SettingError(
                "pre_model_path has no effect: CTRBERT has no stage before finetuning; leave it out"
            )
        if settings["tabular"]:
            check_history_settings(settings)
            return
        for name in ("history_length", "init_from_text"):
            if settings[name]:
                raise SettingError(
                    f"{name} has no effect: CTRBERT has no CTR model without tabular: True; set it, or leave "
                    f"{name} out"
                )

    def model_class(self) -> type:
        from recbole_clickprompt.methods.ctrbert.model import CTRBERT

        return CTRBERT

    def served_language_models(self, settings: Settings) -> Mapping[str, bool]:
        """``plm``, whose weights are those of the two towers."""
        return {"plm": False}

    def reads_text(self, settings: Settings) -> bool:
        """Always: training encodes texts."""
        return True

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
        """Sets embeddings of the backbone, if there is one, as in ``ClickPromptNoPLM`` without pretraining.

        Raises:
            SettingError: As for ``texts_by_level``.
        """
        from recbole_clickprompt.methods.ctrbert.model import CTRBERT
        from recbole_clickprompt.methods.initial_weights import begin_backbone

        assert isinstance(model, CTRBERT)
        warn_of_row_fields(all_rows._dataset, self.name)
        assert model.texts  # computed now, so that errors are raised before training
        if config["tabular"]:
            begin_backbone(
                config, model.backbone.model, trained_on=[train_data._dataset], texts_of=all_rows._dataset
            )

    def title(self, config: Settings) -> str:
        return f"CTRBERT with {config['backbone']}" if config["tabular"] else "CTRBERT"

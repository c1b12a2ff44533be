"""NumBERTLike as a method: a language model alone, which also reads values as tokens."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.methods.base import Method, check_text_fields, refuse_unread
from recbole_clickprompt.methods.numbert_like.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

__all__ = ["NumBERTLikeMethod"]


class NumBERTLikeMethod(Method):
    """A language model that reads the text of a row and a token for each of its values."""

    name = "NumBERTLike"
    serves_text = True
    prediction_columns = {"logit_plm": "logit of the language model"}

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that nothing would read, or if ``text_fields`` is missing."""
        check_text_fields(settings)
        refuse_unread(
            settings,
            {
                "pre_model_path": "NumBERTLike has no stage before finetuning",
                "history_length": "NumBERTLike has no CTR model to read histories",
                "init_from_text": "NumBERTLike has no CTR model with embeddings",
            },
        )

    def model_class(self) -> type:
        from recbole_clickprompt.methods.numbert_like.model import NumBERTLike

        return NumBERTLike

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
        """Observes the values of the training rows; warns if texts are cut to leave room for values."""
        from recbole_clickprompt.methods.numbert_like.model import NumBERTLike

        assert isinstance(model, NumBERTLike)
        rows = train_data._dataset
        if cut := model.begin(rows):
            getLogger().warning(
                f"the text of {cut} of {len(rows)} rows has more than {model.longest_kept} tokens and is "
                "truncated, to leave positions for the tokens of values; lower max_text_length to keep its end"
            )

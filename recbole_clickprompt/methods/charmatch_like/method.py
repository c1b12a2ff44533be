"""CharMatchLike as a method: characters of the texts of user and item, without ids and without a PLM."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method, check_text_fields, refuse_unread, warn_of_row_fields
from recbole_clickprompt.methods.charmatch_like.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.text_vectors import LEVELS

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

    from recbole_clickprompt.text.source import TextSource

__all__ = ["CharMatchLikeMethod"]


class CharMatchLikeMethod(Method):
    """Convolutions over the characters of two texts, and over the products of what they find.

    Known users and items are scored from stored vectors. No PLM and no tokenizer is read.
    """

    name = "CharMatchLike"

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that nothing would read, or if ``text_fields`` is missing."""
        check_text_fields(settings)
        refuse_unread(
            settings,
            {
                "pre_model_path": "CharMatchLike has no stage before finetuning",
                "history_length": "CharMatchLike has no CTR model to read histories",
                "init_from_text": "CharMatchLike has no CTR model with embeddings",
                "max_text_length": "CharMatchLike reads characters, max_characters of each text",
            },
        )

    def model_class(self) -> type:
        from recbole_clickprompt.methods.charmatch_like.model import CharMatchLike

        return CharMatchLike

    def level_texts(self, config: Settings, dataset: TextSource) -> Mapping[str, Sequence[str]]:
        """Of users and items, whose characters are read."""
        from recbole_clickprompt.text.descriptions import descriptions

        return {level: descriptions(dataset, level) for level in LEVELS}

    def inputs(self, config: Settings, dataset: TextSource) -> dict[str, Any]:
        """A hash of the texts; ``reads_text`` is False, since no PLM and no tokens are read."""
        texts = json.dumps(list(self.level_texts(config, dataset).values()))
        return {"texts": hashlib.sha256(texts.encode()).hexdigest()}

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
        """Encodes the texts, so that errors are raised before training.

        Raises:
            SettingError: ``text_fields`` has no field of users, or none of items, other than ids.
        """
        from recbole_clickprompt.methods.charmatch_like.model import CharMatchLike

        assert isinstance(model, CharMatchLike)
        warn_of_row_fields(all_rows._dataset, self.name)
        for level, texts in model.texts.items():
            if not texts.lengths.any():
                raise SettingError(
                    f"no {level} has a text: text_fields has no field of the {level} other than the id, which "
                    f"CharMatchLike does not read; add features of the {level}"
                )

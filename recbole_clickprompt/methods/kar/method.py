"""KAR as a method: frozen vectors of knowledge, without a stage before finetuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.backbones.settings import check_history_settings, check_takes_fields
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method, check_text_fields, refuse_unread
from recbole_clickprompt.methods.kar.settings import SETTINGS
from recbole_clickprompt.methods.settings import text_levels
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

    from recbole_clickprompt.text.source import TextSource

__all__ = ["KARMethod"]


class KARMethod(Method):
    """A CTR model with adapted vectors of a teacher's answers about the item and the user."""

    name = "KAR"
    prediction_columns = {"logit": "logit of the CTR model with vectors of knowledge"}

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that do not go together."""
        from recbole_clickprompt.methods.text_vectors.texts import check_knowledge

        check_takes_fields(settings["backbone"], "KAR adds fields")
        check_text_fields(settings)
        check_history_settings(settings)
        check_knowledge(settings)
        if not settings["shared_experts"] + settings["level_experts"]:
            raise SettingError("shared_experts and level_experts are both 0; at least one expert is needed")
        refuse_unread(settings, {"pre_model_path": "KAR has no stage before finetuning"})

    def model_class(self) -> type:
        from recbole_clickprompt.methods.kar.model import KAR

        return KAR

    def answer_files(self, settings: Settings) -> Sequence[str]:
        """Those of ``knowledge``, with ``knowledge_vectors: answers``."""
        from recbole_clickprompt.methods.text_vectors.texts import answer_files

        return answer_files(settings)

    def served_language_models(self, settings: Settings) -> Mapping[str, bool]:
        """``plm``, which encodes new texts and is no part of the trained model."""
        from recbole_clickprompt.methods.text_vectors.texts import frozen_language_model

        return frozen_language_model(settings)

    def level_texts(self, config: Settings, dataset: TextSource) -> Mapping[str, Sequence[str]]:
        """Of items, and of profiles of users, with the teacher's answers if those are read."""
        from recbole_clickprompt.methods.text_vectors.texts import encoded_texts

        return {level: encoded_texts(config, dataset, level) for level in text_levels(config)}

    def inputs(self, config: Settings, dataset: TextSource) -> dict[str, Any]:
        """Hashes of the encoder's files and of the texts that it reads."""
        from recbole_clickprompt.methods.text_vectors.texts import frozen_inputs

        return frozen_inputs(config, dataset, text_levels(config))

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
        """Encodes all texts, and sets embeddings of unseen ids and the scale of vectors."""
        from recbole_clickprompt.methods.initial_weights import begin_backbone
        from recbole_clickprompt.methods.kar.model import KAR
        from recbole_clickprompt.methods.text_vectors.texts import log_unanswered

        assert isinstance(model, KAR)
        begin_backbone(config, model.backbone.model, trained_on=[train_data._dataset], texts_of=all_rows._dataset)
        if config["knowledge_vectors"] == "answers":
            log_unanswered(config, train_data._dataset, model.vector_widths)
        model.begin(train_data._dataset)

    def title(self, config: Settings) -> str:
        return f"KAR ({config['backbone']})"

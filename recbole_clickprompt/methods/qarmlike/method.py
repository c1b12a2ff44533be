"""Semantic ids as a method: codes are fitted before finetuning and do not change in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.backbones.settings import check_history_settings, check_takes_fields
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method, check_text_fields, refuse_unread
from recbole_clickprompt.methods.qarmlike.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import Tensor, nn

    from recbole_clickprompt.text.source import TextSource

__all__ = ["QARMLikeMethod"]


class QARMLikeMethod(Method):
    """A CTR model with codes of items' texts as further token fields."""

    name = "QARMLike"
    prediction_columns = {"logit": "logit of the CTR model with semantic ids"}

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that do not go together."""
        from recbole_clickprompt.methods.text_vectors.texts import check_knowledge

        check_takes_fields(settings["backbone"], "QARMLike adds fields")
        check_text_fields(settings)
        check_history_settings(settings, reader="QARMLike" if settings["history_length"] else None)
        check_knowledge(settings)
        if settings["user_knowledge"] != "none":
            raise SettingError("user_knowledge has no effect: QARMLike reads texts of items alone; leave it out")
        refuse_unread(settings, {"pre_model_path": "QARMLike has no stage before finetuning"})

    def model_class(self) -> type:
        from recbole_clickprompt.methods.qarmlike.model import QARMLike

        return QARMLike

    def answer_files(self, settings: Settings) -> Sequence[str]:
        """Those of ``knowledge``, with ``knowledge_vectors: answers``."""
        from recbole_clickprompt.methods.text_vectors.texts import answer_files

        return answer_files(settings)

    def served_language_models(self, settings: Settings) -> Mapping[str, bool]:
        """``plm``, which encodes new texts and is no part of the trained model."""
        from recbole_clickprompt.methods.text_vectors.texts import frozen_language_model

        return frozen_language_model(settings)

    def level_texts(self, config: Settings, dataset: TextSource) -> Mapping[str, Sequence[str]]:
        """Of items, with the teacher's answers if those are read."""
        from recbole_clickprompt.methods.text_vectors.texts import encoded_texts

        return {"item": encoded_texts(config, dataset, "item")}

    def inputs(self, config: Settings, dataset: TextSource) -> dict[str, Any]:
        """Hashes of the encoder's files and of the texts that it reads."""
        from recbole_clickprompt.methods.text_vectors.texts import frozen_inputs

        return frozen_inputs(config, dataset, ["item"])

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
        """Fits the codes on the items of the training rows, and sets embeddings of unseen ids."""
        from recbole_clickprompt.methods.initial_weights import begin_backbone
        from recbole_clickprompt.methods.qarmlike.model import QARMLike
        from recbole_clickprompt.methods.text_vectors.texts import encoded_texts, log_unanswered

        assert isinstance(model, QARMLike)
        dataset = train_data._dataset
        begin_backbone(config, model.backbone.model, trained_on=[dataset], texts_of=all_rows._dataset)
        if config["knowledge_vectors"] == "answers":
            log_unanswered(config, dataset, ["item"])
        items = dataset.inter_feat[dataset.iid_field].unique().long()
        model.fit_codes(encoded_texts(config, dataset, "item"), items, seed=config["seed"])

    def sizes_from(self, settings: Settings, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """``codebook_size``, which follows from the number of items if it is None."""
        codebooks = weights.get("codebooks")
        if settings["codebook_size"] is not None or codebooks is None or codebooks.ndim != 3:
            return {}
        return {"codebook_size": codebooks.shape[1]}

    def title(self, config: Settings) -> str:
        return f"QARMLike ({config['backbone']})"

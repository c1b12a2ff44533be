"""LLaCTR as a method: vectors of fields' names are computed once, before finetuning."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.backbones.settings import check_history_settings, check_takes_fields
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method, check_text_fields
from recbole_clickprompt.methods.llactr.settings import SETTINGS
from recbole_clickprompt.methods.llactr.stage import FIELD_CURVES, FieldNames
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

    from recbole_clickprompt.text.source import TextSource

__all__ = ["LLaCTRMethod"]


class LLaCTRMethod(Method):
    """A CTR model whose fields interact by the similarity of their names."""

    name = "LLaCTR"
    stages = (FieldNames(),)
    curves = FIELD_CURVES
    prediction_columns = {"logit": "logit of the CTR model and the products of fields"}

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that do not go together."""
        check_takes_fields(settings["backbone"], "LLaCTR reads embeddings of fields")
        check_history_settings(settings)
        if settings["user_knowledge"] != "none":
            raise SettingError("user_knowledge has no effect: LLaCTR reads names of fields alone; leave it out")
        (stage,) = self.stages
        if settings["train_stage"] != "finetune" and stage.is_enabled(settings):
            check_text_fields(settings)

    def model_class(self) -> type:
        from recbole_clickprompt.methods.llactr.model import LLaCTR

        return LLaCTR

    def served_language_models(self, settings: Settings) -> Mapping[str, bool]:
        """``plm``, of which the width is read."""
        return {"plm": False} if settings["field_alignment_weight"] else {}

    def inputs(self, config: Settings, dataset: TextSource) -> dict[str, Any]:
        """Hashes of the encoder's files; the names of fields are settings."""
        from recbole_clickprompt.plm.weights import find_plm, text_files_hash, weights_hash

        folder = find_plm(config["plm"], seed=config["seed"])
        files = f"{weights_hash(folder)} {text_files_hash(folder)}"
        return {"plm_files": hashlib.sha256(files.encode()).hexdigest()}

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
        """Encodes the names of fields after self-training, and sets embeddings of unseen ids.

        Raises:
            WeightsError: The checkpoint of self-training is damaged or of another language model.
        """
        from recbole_clickprompt.methods.initial_weights import begin_backbone
        from recbole_clickprompt.methods.llactr.model import LLaCTR

        assert isinstance(model, LLaCTR)
        begin_backbone(config, model.backbone.model, trained_on=[train_data._dataset], texts_of=all_rows._dataset)
        model.encode_names(config, start)

    def title(self, config: Settings) -> str:
        return f"LLaCTR ({config['backbone']})"

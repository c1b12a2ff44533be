"""MSD as a method: the student is distilled, then trained on clicks within the CTR model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.backbones.settings import check_history_settings, check_takes_fields
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.word_tables import WordTable
from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.methods.msd.distillation import DISTILLATION_CURVES, DISTILLATION_MEASURES, Distillation
from recbole_clickprompt.methods.msd.settings import SETTINGS
from recbole_clickprompt.methods.settings import text_levels
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

    from recbole_clickprompt.text.source import TextSource

__all__ = ["MSDMethod"]

_WEIGHTED = ("softmax", "attention")  # weights of near items depend on the target; elsewhere it only chooses them
_SUMMED = ("sum", "mean")


class MSDMethod(Method):
    """A CTR model with vectors of texts from a small language model that was distilled from a large one."""

    name = "MSD"
    stages = (Distillation(),)
    curves = DISTILLATION_CURVES
    measures = DISTILLATION_MEASURES
    prediction_columns = {"logit": "logit of the CTR model with vectors of texts"}

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that do not go together."""
        backbone, fusion = settings["backbone"], settings["fusion"]
        check_takes_fields(backbone, "MSD adds vectors of texts as fields")
        if "text_fields" not in settings:
            raise SettingError(
                "text_fields is not set: list the fields that texts of items and users consist of, for example "
                "`text_fields: {title: title, genre: genre}` in props/dataset/<dataset>.yaml"
            )
        if fusion == "none" and not settings["fuse_target"] and settings["user_knowledge"] == "none":
            raise SettingError(
                "fusion: none, fuse_target: False and user_knowledge: none leave no vectors of texts; use the "
                f"backbone alone (--model={backbone}), or leave out one of them"
            )
        if fusion != "none" and settings["history_length"] is None:
            raise SettingError(
                f"fusion: {fusion} reads each user's earlier clicks; set history_length, for example to 20, or "
                "fusion: none"
            )
        check_history_settings(settings, reader=None if fusion == "none" else f"fusion: {fusion}")
        if fusion == "histogram" and settings["train_texts"] == "all":
            raise SettingError(
                "train_texts: all has nothing to train in clicks with fusion: histogram, which has no gradient; "
                "set it to targets or none"
            )
        passes_gradients = settings["fuse_target"] or settings["train_user_texts"] or fusion in _WEIGHTED
        if settings["train_texts"] == "targets" and not passes_gradients:
            others = "all or none" if fusion in _SUMMED else "none"
            raise SettingError(
                f"train_texts: targets has nothing to train with fuse_target: False and fusion: {fusion}, where "
                f"no gradient reaches the text of the target; set train_texts to {others}, or fuse_target to True"
            )
        if settings["train_user_texts"]:
            for name, value in (("user_knowledge", "none"), ("train_texts", "none"), ("vectors", "random")):
                if settings[name] == value:
                    raise SettingError(f"train_user_texts has nothing to train with {name}: {value}; leave it out")
        for name in ("read_answers", "shuffle_knowledge"):
            if settings[name] and not settings["knowledge"]:
                raise SettingError(
                    f"{name} needs a teacher's answers; name files, as in --knowledge=[FILE], or leave it out"
                )
        if settings["init_from_text"]:
            raise SettingError(
                "init_from_text has no place in MSD, in which new ids have vectors of their texts; leave it out"
            )

    def model_class(self) -> type:
        from recbole_clickprompt.methods.msd.model import MSD

        return MSD

    def answer_files(self, settings: Settings) -> Sequence[str]:
        """Those of ``knowledge``, if the student is distilled or texts contain the teacher's phrases."""
        (distillation,) = self.stages
        reads = settings["read_answers"] or distillation.epochs(settings) > 0
        return settings["knowledge"] if settings["knowledge"] and reads else []

    def served_language_models(self, settings: Settings) -> Mapping[str, bool]:
        """``student``, whose weights are part of the trained model."""
        return {"student": False}

    def level_texts(self, config: Settings, dataset: TextSource) -> Mapping[str, Sequence[str]]:
        """Of items, and of profiles of users; the student reads each with a prompt around it."""
        from recbole_clickprompt.methods.msd.builders import texts_of

        return {level: texts_of(config, dataset, level) for level in text_levels(config)}

    def inputs(self, config: Settings, dataset: TextSource) -> dict[str, Any]:
        """Hashes of the student's files and of the texts that it reads."""
        from recbole_clickprompt.methods.msd.inputs import student_inputs

        return student_inputs(config, dataset)

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
        """Loads the distilled student; sets embeddings of unseen ids, scales of vectors and rates of masking."""
        from recbole_clickprompt.backbones.unseen import zero_unseen_rows
        from recbole_clickprompt.methods.msd.inputs import load_distilled
        from recbole_clickprompt.methods.msd.model import MSD
        from recbole_clickprompt.methods.text_vectors.texts import log_unanswered

        assert isinstance(model, MSD)
        if config["read_answers"]:
            log_unanswered(config, train_data._dataset, ["item"])
        if start is not None:
            model.texts.student.encoder.load_student(load_distilled(config, start))
        if config["unseen_id_embeddings"] == "zero":
            number = zero_unseen_rows(model.backbone.model, [train_data._dataset])
            getLogger().info(f"{number} embeddings of ids and values without training rows are set to zero")
        model.begin(train_data._dataset)

    def title(self, config: Settings) -> str:
        return f"MSD ({config['backbone']})"

    def tables(self, config: Settings, model: nn.Module, dataset: TextSource) -> Sequence[WordTable]:
        """The most frequent items with the teacher's phrases, and the items with the most similar vectors."""
        from recbole_clickprompt.methods.msd.model import MSD
        from recbole_clickprompt.methods.msd.nearest_items import nearest_items

        assert isinstance(model, MSD)
        return [nearest_items(config, model.texts.named_levels()["item"].adapted.rows, dataset)]

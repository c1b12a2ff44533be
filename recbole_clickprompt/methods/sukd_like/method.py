"""SuKDLike as a method: a stage that trains a large text tower, then finetuning with a small one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.backbones.settings import check_history_settings
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Curve, Method, check_text_fields
from recbole_clickprompt.methods.labeled_pretraining import LabeledPretraining
from recbole_clickprompt.methods.sukd_like.settings import SETTINGS, check_layers
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.protocols import StageModel

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

__all__ = ["SuKDLikeMethod"]


class _TeacherStage(LabeledPretraining):
    """The stage before finetuning: the backbone and the large text tower are trained together."""

    name = "teacher"

    def build(self, config: Settings, dataset: TextSource) -> StageModel:
        """A ``Teacher``."""
        from recbole_clickprompt.methods.sukd_like.model import build_teacher

        return build_teacher(config, dataset)


class SuKDLikeMethod(Method):
    """A CTR model plus a small language model that learns from a large one."""

    name = "SuKDLike"
    stages = (_TeacherStage(),)
    serves_text = True
    prediction_columns = {"logit_ctr": "logit of the CTR model", "logit_plm": "logit of the language model"}
    curves = (
        Curve(
            "teacher", "teacher_loss", "Teacher: loss", "nats",
            "Mean cross entropy of clicks in the training of backbone and large language model.",
        ),
    )  # fmt: skip

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError if there is no teacher to learn from, or settings contradict each other."""
        check_text_fields(settings)
        check_history_settings(settings)
        if settings["plm_num_layers"] is not None:
            check_layers(settings["student_layers"], settings["plm_num_layers"])
        (stage,) = self.stages
        has_stage = settings["train_stage"] != "finetune" and stage.is_enabled(settings)
        starts = settings["pre_model_path"] or settings["warm_start"]
        if settings["distill_weight"] and not has_stage and not starts:
            raise SettingError(
                f"distill_weight is {settings['distill_weight']}, but without the stage teacher there is no "
                "teacher to learn from; set pretrain_epochs to 1 or more and train_stage to all, name a teacher "
                "in pre_model_path, or set distill_weight to 0"
            )

    def model_class(self) -> type:
        from recbole_clickprompt.methods.sukd_like.model import SuKDLike

        return SuKDLike

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
        """Loads backbone, head and the PLM's lower layers from the teacher, if there is one."""
        from recbole_clickprompt.methods.initial_weights import begin_backbone
        from recbole_clickprompt.methods.labeled_stage import labeled_rows
        from recbole_clickprompt.methods.sukd_like.model import SuKDLike

        assert isinstance(model, SuKDLike)
        trained_on = [train_data._dataset]
        if start is not None:
            model.begin(start)
            trained_on.append(labeled_rows(config, all_rows))
        begin_backbone(
            config,
            model.backbone.model,
            trained_on=trained_on,
            texts_of=all_rows._dataset if start is None else None,
        )

    def title(self, config: Settings) -> str:
        return f"SuKDLike ({config['backbone']})"

"""Initial weights of finetuning: pretrained components, embeddings from text, zeros for unseen ids."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.methods.clickprompt.model import ClickPrompt, ClickPromptNoPLM
from recbole_clickprompt.methods.clickprompt.pretraining import pretraining_rows
from recbole_clickprompt.methods.initial_weights import begin_backbone
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components, read_inputs

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from torch import nn

__all__ = ["begin_finetuning"]


def begin_finetuning(
    config: Settings,
    model: nn.Module,
    *,
    start: Path | None,
    train_data: AbstractDataLoader,
    valid_data: AbstractDataLoader | None,
    all_rows: AbstractDataLoader,
) -> None:
    """Sets the weights that finetuning starts from.

    First the components of a pretraining checkpoint, or without one embeddings from text (``init_from_text``).
    Then, with ``unseen_id_embeddings: zero``, zeros for ids and values that no training row has; fields that are
    initialized from text keep their embeddings.

    Args:
        config: Settings of the run.
        model: A ``ClickPrompt`` or ``ClickPromptNoPLM``, changed in place.
        start: Pretraining checkpoint, or None.
        train_data: Loader of the rows to train on.
        valid_data: Loader of the validation rows, or None.
        all_rows: Loader of all training rows; ``train_data`` may be a sample of them.

    Raises:
        WeightsError: The checkpoint is damaged or does not fit the model.
        SettingError: As for ``init_embeddings_from_text``.
    """
    assert isinstance(model, ClickPrompt | ClickPromptNoPLM)
    backbone = model.backbone.model
    if start is not None:
        tables_only = ("backbone",) if config["load_pretrained"] == "embeddings" else ()
        # The objectives of the run that wrote the file, which may differ from this run's: without PA-MLM only the
        # backbone was pretrained
        objectives = read_inputs(start)["settings"].get("pretrain_objectives", ["mlm"])
        components = model.pretrained_components if "mlm" in objectives else ("backbone",)
        load_components(model, start, components, embeddings_of=tables_only)
    trained_on = [train_data._dataset]
    if start is not None and config["unseen_id_embeddings"] == "zero":
        trained_on.append(pretraining_rows(config, all_rows, valid_data))
    begin_backbone(
        config,
        backbone,
        trained_on=trained_on,
        texts_of=all_rows._dataset if start is None else None,
    )

"""Initial weights of any method's CTR model: embeddings from text, zeros for unseen ids."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from typing import TYPE_CHECKING

from recbole_clickprompt.backbones.unseen import zero_unseen_rows
from recbole_clickprompt.plm.text_init import init_embeddings_from_text
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset
    from torch import nn

__all__ = ["begin_backbone"]


def begin_backbone(
    config: Settings, backbone: nn.Module, *, trained_on: Sequence[Dataset], texts_of: Dataset | None
) -> None:
    """Sets embeddings that training does not start from random values or from pretraining.

    Args:
        config: Settings of the run: ``init_from_text`` and ``unseen_id_embeddings``.
        backbone: A context-aware RecBole model, changed in place.
        trained_on: Data sets whose rows train or have trained it.
        texts_of: Data set whose texts initialize embeddings; None leaves them unchanged.

    Raises:
        SettingError: As for ``init_embeddings_from_text``.
    """
    logger, from_text = getLogger(), config["init_from_text"] or ()
    if from_text and texts_of is not None:
        number = init_embeddings_from_text(backbone, config, texts_of)
        logger.info(f"{number} embeddings are initialized from text")
    if config["unseen_id_embeddings"] == "zero":
        # The text of an id is known even if it has no training row
        number = zero_unseen_rows(backbone, trained_on, but=from_text)
        logger.info(f"{number} embeddings of ids and values without training rows are set to zero")

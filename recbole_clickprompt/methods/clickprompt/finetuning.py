"""What finetuning begins with: pretrained components, embeddings from text, zeros for unseen ids."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_clickprompt.backbones.unseen import zero_unseen_rows
from recbole_clickprompt.methods.clickprompt.pretraining import pretraining_rows
from recbole_clickprompt.plm.text_init import init_embeddings_from_text
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components, read_inputs

__all__ = ["begin_finetuning"]


def begin_finetuning(
    config: Any, model: Any, *, start: Path | None, train_data: Any, valid_data: Any, all_rows: Any
) -> None:
    """Gives the weights what they begin finetuning with; arguments as of ``FinetuningMethod.begin_finetuning``."""
    logger, backbone = getLogger(), model.backbone.model
    from_text = config["init_from_text"] or ()
    if start is not None:
        tables_only = ("backbone",) if config["load_pretrained"] == "embeddings" else ()
        # What the file was made for, which another run's settings need not say: without PA-MLM nothing but the
        # backbone was pretrained
        objectives = read_inputs(start)["settings"].get("pretrain_objectives", ["mlm"])
        components = model.pretrained_components if "mlm" in objectives else ("backbone",)
        load_components(model, start, components, embeddings_of=tables_only)
    elif from_text:
        number = init_embeddings_from_text(backbone, config, all_rows._dataset)
        logger.info(f"{number} embeddings are initialized from text")
    if config["unseen_id_embeddings"] == "zero":
        pretrained = [] if start is None else [pretraining_rows(config, all_rows, valid_data)]
        # A text is known where no click is
        number = zero_unseen_rows(backbone, [train_data._dataset, *pretrained], but=from_text)
        logger.info(f"{number} embeddings that training never reads begin at zero")

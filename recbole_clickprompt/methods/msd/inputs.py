"""The student of a run: what determines it, and its weights after distillation."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from recbole_clickprompt.methods.msd.builders import texts_of
from recbole_clickprompt.methods.msd.phrase_dictionary import dictionary_hash
from recbole_clickprompt.methods.settings import text_levels
from recbole_clickprompt.methods.text_vectors.answers import knowledge_hash
from recbole_clickprompt.plm.generative import load_generative
from recbole_clickprompt.plm.weights import find_plm, text_files_hash, weights_hash
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.pretrained_checkpoint import load_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["load_distilled", "student_inputs"]


class _Holder(nn.Module):
    """Has the student under the name that it has in the checkpoint of distillation."""

    def __init__(self, student: PreTrainedModel) -> None:
        super().__init__()
        self.student = student


def load_distilled(config: Settings, path: Path) -> PreTrainedModel:
    """The student with the weights of a checkpoint of distillation.

    Raises:
        WeightsError: The checkpoint is damaged or of another student.
    """
    loaded = load_generative(config["student"], num_layers=config["student_num_layers"])
    load_pretrained(_Holder(loaded.model), path)
    return loaded.model


def student_inputs(config: Settings, dataset: TextSource) -> dict[str, Any]:
    """Hashes of the student's weights, config and tokenizer, of the texts that it reads, and of the knowledge."""
    folder = find_plm(config["student"])
    texts = hashlib.sha256()
    for level in text_levels(config):
        texts.update("\0".join(texts_of(config, dataset, level)).encode())
    return {
        "knowledge": knowledge_hash(config["knowledge"] or []),
        "phrase_dictionary": dictionary_hash(config["phrase_dictionary"]),
        "student_weights": weights_hash(folder),
        "student_files": text_files_hash(folder),
        "student_texts": texts.hexdigest(),
    }

"""The files of an exported model, and the model that scores with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Text
from recbole_clickprompt.serving.model import ServedModel
from recbole_clickprompt.serving.schema_dataset import PrecomputedTokens
from recbole_clickprompt.serving.scores import OnnxScores, OnnxSession
from recbole_clickprompt.serving.text import INPUT_IDS, TEXT_LENGTH
from recbole_clickprompt.serving.text_states import TextStates
from recbole_clickprompt.text.entity_texts import entity_texts, state_offsets
from recbole_clickprompt.text.states import StateTable

__all__ = ["FROZEN_FILE", "ONNX_FILE", "STATES_FILE", "exported_states", "load_export", "save_states"]

ONNX_FILE = "model.onnx"
# Of a model with frozen layers: these layers, and the states of known texts, bf16 as int16
FROZEN_FILE, STATES_FILE = "frozen_layers.onnx", "states.npy"


def load_export(folder: Path) -> ServedModel:
    """The model of a folder that ``recbole-cp export`` wrote.

    Raises:
        DataError: A file is missing, damaged or modified.
        SettingError: onnxruntime is missing.
    """
    has_states = (folder / STATES_FILE).is_file()
    others = [FROZEN_FILE, STATES_FILE] if has_states else []
    preprocessing = Preprocessing.load(folder, also=[ONNX_FILE, *others])
    states = exported_states(folder, preprocessing.text) if has_states and preprocessing.text else None
    scores = OnnxScores(folder / ONNX_FILE, states)
    return ServedModel(preprocessing, scores, separate_texts=states is not None)


def save_states(table: StateTable, folder: Path) -> None:
    """Writes the states of known texts."""
    np.save(folder / STATES_FILE, table.states.view(torch.int16).cpu().numpy())


def exported_states(folder: Path, text: Text) -> TextStates:
    """What ``save_states`` wrote, with the exported frozen layers for unseen texts.

    Raises:
        DataError: A file is damaged.
    """
    try:
        numbers = np.load(folder / STATES_FILE, mmap_mode="c", allow_pickle=False)
        states = torch.from_numpy(numbers).view(torch.bfloat16)
    except Exception as error:  # NumPy and torch raise errors of many types
        raise DataError(f"{folder / STATES_FILE} is damaged: {' '.join(str(error).split())}") from error
    offsets = state_offsets(entity_texts(PrecomputedTokens(text)))
    if states.ndim != 2 or len(states) != int(offsets[-1][-1]):
        raise DataError(f"{folder / STATES_FILE} does not hold one state per token; export again")
    keys = [segment.key for segment in text.segments]
    table = StateTable(keys=keys, offsets=offsets, states=states, copies=1, max_length=text.max_length)
    frozen = OnnxSession(folder / FROZEN_FILE)

    def encode(input_ids: Tensor, lengths: Tensor) -> Tensor:
        return torch.from_numpy(frozen({INPUT_IDS: input_ids.numpy(), TEXT_LENGTH: lengths.numpy()}))

    return TextStates(table, text, encode)

"""Outputs of the student's frozen layers for all texts of a level, computed once and kept in a file.

Letters: N texts, Z tokens of the longest of them, W width of the student's states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.methods.msd.encoder import StudentEncoder
from recbole_clickprompt.methods.msd.student_texts import StudentTexts
from recbole_clickprompt.tensor_cache import TensorCache

__all__ = ["FrozenStates", "frozen_states"]

_TEXTS_PER_BATCH = 64


def _hashed(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Iterable[Tensor]:
    """The states alone: the name of the file already identifies all else."""
    return [tensors["states"]]


_CACHE = TensorCache("student-states-2", "file of hidden states", "delete it to compute it again", _hashed)


class FrozenStates:
    """States of each token of each text, text after text.

    Args:
        states: float32, memory-mapped, ``(tokens, W)``.
        offsets: Where the states of each text begin, ``(texts + 1,)``.
    """

    def __init__(self, states: Tensor, offsets: np.ndarray) -> None:
        self._states, self._offsets = states, offsets.tolist()

    def padded(self, texts: Tensor) -> Tensor:
        """States of texts by number, ``(N,)``: ``(N, Z, W)`` float32 on the CPU, 0 at padding."""
        parts = [self._states[self._offsets[text] : self._offsets[text + 1]] for text in texts.tolist()]
        return pad_sequence(parts, batch_first=True)


def frozen_states(
    encoder: StudentEncoder, texts: StudentTexts, *, folder: Path, enable_amp: bool, show_progress: bool
) -> FrozenStates:
    """The states of a level's texts, from a file that is shared by calls with equal weights and tokens.

    The file has float32: rounding would give a text different vectors in different batches.

    Args:
        encoder: With frozen layers, which are run on its device.
        texts: Of the level.
        folder: Folder of the file.
        enable_amp: Run the layers in bf16.
        show_progress: Show a progress bar.

    Raises:
        WeightsError: The file is damaged.
        StorageError: The file cannot be written.
    """
    path = folder / f"student-states-{_key(encoder, texts, enable_amp)}.safetensors"
    shape = (len(texts.tokens.values), encoder.width)

    def fill(out: np.ndarray) -> None:
        _encode(encoder, texts, out, enable_amp=enable_amp, show_progress=show_progress)

    def write() -> None:
        _CACHE.write_in_place(path, "states", shape, fill, dtype=torch.float32)

    _, tensors = _CACHE.read_or_write(path, write)
    states = tensors.get("states")
    if states is None or states.dtype is not torch.float32 or states.shape != shape:
        raise WeightsError(f"{path} is damaged: it does not hold the states of these texts; {_CACHE.recovery}")
    return FrozenStates(states, texts.tokens.offsets)


def _key(encoder: StudentEncoder, texts: StudentTexts, enable_amp: bool) -> str:
    """A hash of everything that determines the states, 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps([_CACHE.format, encoder.family, encoder.num_frozen, enable_amp]).encode())
    digest.update(encoder.lower_hash().encode())
    digest.update(texts.tokens.values.tobytes())
    digest.update(texts.tokens.offsets.tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _encode(
    encoder: StudentEncoder, texts: StudentTexts, out: np.ndarray, *, enable_amp: bool, show_progress: bool
) -> None:
    """Writes the states of all texts into ``out``, ``(tokens, W)``."""
    device = next(encoder.parameters()).device
    offsets = texts.tokens.offsets
    order = torch.from_numpy(texts.tokens.lengths.argsort(kind="stable"))
    with tqdm(total=len(texts), unit="texts", desc="frozen layers", disable=not show_progress) as bar:
        for numbers in order.split(_TEXTS_PER_BATCH):  # similar lengths, little padding
            tokens, lengths = texts.padded(numbers)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enable_amp):
                states = encoder.lower(tokens.to(device), lengths.to(device)).float().cpu()
            for row, text, length in zip(states, numbers.tolist(), lengths.tolist(), strict=True):
                out[offsets[text] : offsets[text + 1]] = row[:length].numpy()
            bar.update(len(numbers))

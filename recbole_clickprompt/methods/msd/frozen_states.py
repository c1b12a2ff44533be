"""Outputs of the student's frozen layers for all texts of a level, computed once and kept in a file.

Letters: N texts, Z tokens of the longest of them, W width of the student's states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.methods.msd.encoder import StudentEncoder
from recbole_clickprompt.methods.msd.student_texts import StudentTexts
from recbole_clickprompt.methods.text_vectors.kept_texts import earlier_files, places_of
from recbole_clickprompt.tensor_cache import TensorCache

__all__ = ["FrozenStates", "frozen_states"]

_TEXTS_PER_BATCH = 64


def _hashed(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Iterable[Tensor]:
    """The states alone: the name of the file already identifies all else."""
    return [tensors["states"]]


# Which texts a file holds, for later runs with other texts
_INDEX = TensorCache("student-states-index-1", "index of hidden states", "delete it to compute them again")
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
    digest = _digest(encoder, enable_amp)
    path = _path(folder, digest, texts)
    shape = (len(texts.tokens.values), encoder.width)

    key, hashes = digest.hexdigest(), texts.hashes()

    def fill(out: np.ndarray) -> None:
        new = _copy_known(out, texts, hashes, folder=folder, key=key)
        _encode(encoder, texts, new, out, enable_amp=enable_amp, show_progress=show_progress)

    def write() -> None:
        _CACHE.write_in_place(path, "states", shape, fill, dtype=torch.float32)
        index = {"hashes": hashes, "offsets": torch.from_numpy(texts.tokens.offsets)}
        _INDEX.write(path.with_name(path.name.replace("states", "texts", 1)), index, {"encoder": key})

    _, tensors = _CACHE.read_or_write(path, write)
    states = tensors.get("states")
    if states is None or states.dtype is not torch.float32 or states.shape != shape:
        raise WeightsError(f"{path} is damaged: it does not hold the states of these texts; {_CACHE.recovery}")
    return FrozenStates(states, texts.tokens.offsets)


def _digest(encoder: StudentEncoder, enable_amp: bool) -> hashlib._Hash:
    """A hash of everything but the texts that determines the states."""
    digest = hashlib.sha256(json.dumps([_CACHE.format, encoder.family, encoder.num_frozen, enable_amp]).encode())
    digest.update(encoder.lower_hash().encode())
    return digest


def _path(folder: Path, digest: hashlib._Hash, texts: StudentTexts) -> Path:
    """The file of the states of these texts."""
    whole = digest.copy()
    whole.update(texts.tokens.values.tobytes())
    whole.update(texts.tokens.offsets.tobytes())
    return folder / f"student-states-{whole.hexdigest()[:16]}.safetensors"


def _copy_known(out: np.ndarray, texts: StudentTexts, hashes: Tensor, *, folder: Path, key: str) -> Tensor:
    """Writes states that earlier files hold into ``out``, ``(tokens, W)``; returns the numbers of other texts."""
    missing, offsets = torch.ones(len(texts), dtype=torch.bool), texts.tokens.offsets
    for index_file in earlier_files(_INDEX, folder, "student-texts-*.safetensors", key):
        path = index_file.with_name(index_file.name.replace("texts", "states", 1))
        if not path.is_file():
            continue
        (_, index), (_, tensors) = _INDEX.read(index_file), _CACHE.read(path)
        earlier = FrozenStates(tensors["states"], index["offsets"].numpy())
        places = places_of(hashes, index["hashes"])
        for text in (missing & (places >= 0)).nonzero().squeeze(1).tolist():
            out[offsets[text] : offsets[text + 1]] = earlier.padded(places[text : text + 1])[0].numpy()
        missing &= places < 0
    return missing.nonzero().squeeze(1)


@torch.no_grad()
def _encode(
    encoder: StudentEncoder,
    texts: StudentTexts,
    wanted: Tensor,
    out: np.ndarray,
    *,
    enable_amp: bool,
    show_progress: bool,
) -> None:
    """Writes the states of some texts, by number, into ``out``, ``(tokens, W)``."""
    device = next(encoder.parameters()).device
    offsets = texts.tokens.offsets
    order = wanted[torch.from_numpy(texts.tokens.lengths[wanted.numpy()].argsort(kind="stable"))]
    getLogger().info(f"frozen layers read {len(wanted)} of {len(texts)} texts, the others are known")
    with tqdm(total=len(wanted), unit="texts", desc="frozen layers", disable=not show_progress) as bar:
        for numbers in order.split(_TEXTS_PER_BATCH) if len(order) else ():  # similar lengths, little padding
            tokens, lengths = texts.padded(numbers)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enable_amp):
                states = encoder.lower(tokens.to(device), lengths.to(device)).float().cpu()
            for row, text, length in zip(states, numbers.tolist(), lengths.tolist(), strict=True):
                out[offsets[text] : offsets[text + 1]] = row[:length].numpy()
            bar.update(len(numbers))

"""Outputs of a PLM's frozen layers for the texts of users, items and values, computed once, stored in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.tensor_cache import TensorCache
from recbole_clickprompt.text.entity_texts import EntityTexts

__all__ = ["cached_hidden_states", "states_file", "write_states"]

_TEXTS_PER_BATCH = 128


def _hashed(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Iterable[Tensor]:
    """The states alone: the name of the file already identifies all else."""
    return [tensors["states"]]


_CACHE = TensorCache("clickprompt-states-2", "file of hidden states", "delete it to compute it again", _hashed)


def cached_hidden_states(
    plm: PromptedEncoder,
    texts: Sequence[tuple[EntityTexts, Tensor]],
    *,
    file: Path,
    enable_amp: bool,
    show_progress: bool,
) -> Tensor:
    """States that enter the first interaction layer, from a file that is shared by calls with equal arguments.

    The file has one state for every token that is part of a row's text, text after text. The frozen layers read
    each text between special tokens; those that would stand between two texts of a row are not stored::

        frozen layers read:  [CLS] user ID is u0 . [SEP]    [CLS] item ID is i0 . [SEP]    ...

        states of texts[0]:  [CLS] user ID is u0 .   |  [CLS] user ID is u1 .   |  ...     without their [SEP]
                             id 0                       id 1
        states of texts[1]:  item ID is i0 . [SEP]   |  item ID is i1 . [SEP]   |  ...     without their [CLS]
                             id 0                       id 1

    Args:
        plm: Encoder with frozen layers, which are run in evaluation mode on its device.
        texts: Texts of each key, each with the tokens to read, ``(tokens,)``, some of which may be masked.
        file: The result of ``states_file`` for the same arguments.
        enable_amp: Run the layers in bf16.
        show_progress: Show a progress bar.

    Returns:
        bf16, memory-mapped, ``(row tokens, W)``: one state per token that is part of a row's text.

    Raises:
        WeightsError: The file is damaged.
        StorageError: The file cannot be written.
    """
    rows = sum(int(text.in_row_mask().sum()) for text, _ in texts)

    def fill(out: np.ndarray) -> None:
        _encode_all(plm, texts, out, enable_amp=enable_amp, show_progress=show_progress)

    def write() -> None:
        _CACHE.write_in_place(file, "states", (rows, plm.hidden_size), fill)

    _, tensors = _CACHE.read_or_write(file, write)
    states = tensors.get("states")
    if states is None or states.dtype is not torch.bfloat16 or states.shape != (rows, plm.hidden_size):
        raise WeightsError(f"{file} is damaged: it does not hold the states of these texts; {_CACHE.recovery}")
    return states


def states_file(
    plm: PromptedEncoder,
    texts: Sequence[tuple[EntityTexts, Tensor]],
    *,
    folder: Path,
    weights: str,
    enable_amp: bool,
) -> Path:
    """The file of states of some texts, whose name has a hash of everything that determines them.

    Args:
        plm: As in ``cached_hidden_states``.
        texts: As there.
        folder: Folder of the file.
        weights: Hash of the PLM's weights.
        enable_amp: The layers are run in bf16.
    """
    settings = [_CACHE.format, weights, plm.num_frozen_layers, enable_amp]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for text, tokens in texts:
        digest.update(json.dumps([text.prefix_len, text.suffix_len]).encode())
        digest.update(tokens.numpy().tobytes())
        digest.update(text.offsets.numpy().tobytes())
    return folder / f"states-{digest.hexdigest()[:16]}.safetensors"


def write_states(file: Path, states: Tensor) -> None:
    """Writes states, ``(row tokens, W)`` bf16, as ``cached_hidden_states`` does; raises StorageError."""

    def fill(out: np.ndarray) -> None:
        out[:] = states.cpu().view(torch.int16).numpy()

    _CACHE.write_in_place(file, "states", tuple(states.shape), fill)


def _encode_all(
    plm: PromptedEncoder,
    texts: Sequence[tuple[EntityTexts, Tensor]],
    out: np.ndarray,
    *,
    enable_amp: bool,
    show_progress: bool,
) -> None:
    """Writes the states of all texts into ``out``, ``(row tokens, W)``, bf16 as int16."""
    training = plm.training
    plm.eval()
    try:
        total = sum(len(text.lengths) for text, _ in texts)
        with tqdm(total=total, unit="texts", desc="frozen layers", disable=not show_progress) as bar:
            begin = 0
            for text, tokens in texts:
                end = begin + int(text.in_row_mask().sum())
                _encode(plm, text, tokens, out[begin:end], enable_amp=enable_amp, bar=bar)
                begin = end
    finally:
        plm.train(training)


def _encode(
    plm: PromptedEncoder, text: EntityTexts, tokens: Tensor, out: np.ndarray, *, enable_amp: bool, bar: tqdm
) -> None:
    """Writes the states of one key's texts into ``out``, ``(row tokens of the key, W)``; advances ``bar``."""
    device = next(plm.parameters()).device
    in_row = text.in_row_mask()
    target = in_row.cumsum(0) - 1  # row of ``out`` for each token that is part of a row's text
    ids = torch.nonzero(text.lengths > 0).squeeze(1)
    for batch_ids in ids[text.lengths[ids].argsort()].split(_TEXTS_PER_BATCH):  # similar lengths, little padding
        lengths = text.lengths[batch_ids]
        input_ids = text.padded(tokens, batch_ids, 0)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enable_amp):
            states = plm.encode_lower(input_ids.to(device), lengths.to(device)).to(torch.bfloat16).cpu()
        source = text.offsets[batch_ids].unsqueeze(1) + torch.arange(states.shape[1])
        inside = torch.arange(states.shape[1]) < lengths.unsqueeze(1)
        inside &= in_row[source.clamp(max=len(in_row) - 1)]
        out[target[source[inside]].numpy()] = states[inside].view(torch.int16).numpy()
        bar.update(len(batch_ids))

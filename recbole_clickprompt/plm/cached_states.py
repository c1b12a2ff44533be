"""States of texts behind a PLM's lower layers, made once and kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from recbole_clickprompt import distributed as ranks
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.files import partial_path
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.text.entity_texts import LoneTexts

__all__ = ["lower_states"]

_FORMAT = "clickprompt-states-2"
_TEXTS_AT_ONCE = 128
_STATES_AT_ONCE = 1 << 14


def lower_states(
    plm: PromptedEncoder,
    texts: Sequence[tuple[LoneTexts, Tensor]],
    *,
    folder: Path,
    weights: str,
    enable_amp: bool,
    show_progress: bool,
) -> Tensor:
    """States that enter the first layer that sees whole rows, out of a file that equal calls share.

    Args:
        plm: Its lower layers are run in evaluation mode, on its own device.
        texts: Texts, each with the tokens to read in their place, ``(N,)``: some may be masked.
        folder: Where the file is, or will be.
        weights: Identifies the PLM's weights.
        enable_amp: Run the layers in bf16.
        show_progress: With a bar.

    Returns:
        bf16, ``(tokens that are part of rows, W)``, one text after the other; memory-mapped.

    Raises:
        WeightsError: The file is not as it was written.
    """
    path = folder / f"states-{_key(plm, texts, weights, enable_amp)}.safetensors"

    def prepare() -> None:
        if not path.is_file():
            _write(plm, texts, path, enable_amp=enable_amp, show_progress=show_progress)
            getLogger().info(f"states of texts saved: {path}")

    ranks.current().in_turn(prepare)
    return _read(path)


def _read(path: Path) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            metadata, states = file.metadata() or {}, file.get_tensor("states")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged: {error}; delete it, and it is made again") from error
    if metadata.get("sha256") != _sum(states):
        raise WeightsError(f"{path} is damaged: its checksum does not fit; delete it, and it is made again")
    return states


def _sum(states: Tensor) -> str:
    digest = hashlib.sha256()
    for part in states.split(_STATES_AT_ONCE):
        digest.update(part.view(torch.int16).numpy())
    return digest.hexdigest()


def _key(plm: PromptedEncoder, texts: Sequence[tuple[LoneTexts, Tensor]], weights: str, enable_amp: bool) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, weights, plm.first_layer, enable_amp]).encode())
    for text, tokens in texts:
        digest.update(json.dumps([text.front, text.behind]).encode())
        digest.update(tokens.numpy().tobytes())
        digest.update(text.offsets.numpy().tobytes())
    return digest.hexdigest()[:16]


def _write(
    plm: PromptedEncoder,
    texts: Sequence[tuple[LoneTexts, Tensor]],
    path: Path,
    *,
    enable_amp: bool,
    show_progress: bool,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    training = plm.training
    plm.eval()
    try:
        rows = sum(int(text.kept().sum()) for text, _ in texts)
        out = _open_safetensors(partial, rows, plm.hidden_size)
        written = 0
        total = sum(len(text.lengths) for text, _ in texts)
        with tqdm(total=total, unit="texts", desc="lower layers", disable=not show_progress) as bar:
            for text, tokens in texts:
                kept = text.kept()
                places = kept.cumsum(0) - 1 + written  # of those kept
                _encode(plm, text, tokens, kept, places, out, enable_amp=enable_amp, bar=bar)
                written += int(kept.sum())
        out.flush()
        header = _header(rows, plm.hidden_size, _sum(torch.from_numpy(out)))
        with partial.open("r+b") as stream:
            stream.write(header)
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        plm.train(training)
        partial.unlink(missing_ok=True)


def _encode(
    plm: PromptedEncoder,
    text: LoneTexts,
    tokens: Tensor,
    kept: Tensor,
    places: Tensor,
    out: np.memmap,
    *,
    enable_amp: bool,
    bar: Any,
) -> None:
    device = next(plm.parameters()).device
    there = torch.nonzero(text.lengths > 0).squeeze(1)
    for ids in there[text.lengths[there].argsort()].split(_TEXTS_AT_ONCE):  # of similar length, little padding
        lengths = text.lengths[ids]
        input_ids = text.padded(tokens, ids, 0)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enable_amp):
            states = plm.alone(input_ids.to(device), lengths.to(device)).to(torch.bfloat16).cpu()
        source = text.offsets[ids].unsqueeze(1) + torch.arange(states.shape[1])
        inside = torch.arange(states.shape[1]) < lengths.unsqueeze(1)
        inside &= kept[source.clamp(max=len(kept) - 1)]
        out[places[source[inside]].numpy()] = states[inside].view(torch.int16).numpy()
        bar.update(len(ids))


def _open_safetensors(path: Path, rows: int, width: int) -> np.memmap:
    """A safetensors file with one bf16 tensor that is written piece by piece; bf16 as int16, numpy has none."""
    header = _header(rows, width, "0" * 64)
    with path.open("wb") as stream:
        # All of it at once: a disk that is full halfway would end the process where a memory map is written
        os.posix_fallocate(stream.fileno(), 0, len(header) + rows * width * 2)
    return np.memmap(path, dtype=np.int16, mode="r+", offset=len(header), shape=(rows, width))


def _header(rows: int, width: int, checksum: str) -> bytes:
    """What stands before the states; as long for every checksum."""
    header = json.dumps(
        {
            "__metadata__": {"format": _FORMAT, "sha256": checksum},
            "states": {"dtype": "BF16", "shape": [rows, width], "data_offsets": [0, rows * width * 2]},
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header

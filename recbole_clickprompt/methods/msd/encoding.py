"""Vectors of texts from the student: of some with gradient, or of all of a level without.

Letters: N texts, U distinct texts of a level, W width of the student's states.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from recbole_clickprompt import distributed
from recbole_clickprompt.methods.msd.encoder import StudentEncoder
from recbole_clickprompt.methods.msd.frozen_states import FrozenStates
from recbole_clickprompt.methods.msd.student_texts import padded
from recbole_clickprompt.text.ragged import Ragged

__all__ = ["encode", "encode_all", "random_directions"]

_TOKENS_PER_BATCH = 4096  # of texts that are encoded together, padding included; more do not make a CPU faster
_TEXTS_PER_PART = 128  # of similar length, so that there is little padding


def encode(encoder: StudentEncoder, tokens: Ragged, texts: Tensor, states: FrozenStates | None = None) -> Tensor:
    """Vectors of some texts, with gradients where they are enabled.

    Args:
        encoder: The student.
        tokens: Of all texts.
        texts: Numbers of texts, ``(N,)``.
        states: Of the frozen layers, if they are kept; else they are computed.

    Returns:
        ``(N, W)`` float32 on the encoder's device.
    """
    lengths = tokens.lengths[texts.cpu().numpy()]
    order = torch.from_numpy(lengths.argsort(kind="stable"))
    parts = [_encode(encoder, tokens, texts.cpu()[part], states) for part in order.split(_TEXTS_PER_PART)]
    return torch.cat(parts)[order.argsort().to(parts[0].device)]


def _encode(encoder: StudentEncoder, tokens: Ragged, texts: Tensor, states: FrozenStates | None) -> Tensor:
    device = next(encoder.parameters()).device
    numbers, lengths = padded(tokens, texts.numpy())
    lengths = lengths.to(device)
    if not encoder.num_frozen:
        return encoder(numbers.to(device), lengths)
    if states is not None:
        return encoder(states.padded(texts).to(device), lengths)
    with torch.no_grad():
        lower = encoder.lower(numbers.to(device), lengths).float()
    return encoder(lower, lengths)


@torch.no_grad()
def encode_all(
    encoder: StudentEncoder,
    tokens: Ragged,
    states: FrozenStates | None = None,
    *,
    wanted: Tensor | None = None,
    show_progress: bool = False,
    shared: bool = False,
) -> Tensor:
    """Vectors of all texts, ``(U, W)`` float32 on the encoder's device, in evaluation mode.

    Args:
        encoder: The student.
        tokens: Of all texts.
        states: Of the frozen layers, if they are kept.
        wanted: Numbers of the texts to encode, ``(N,)``; the others have the vector 0. None: all.
        show_progress: Show a progress bar.
        shared: All processes call this; each encodes a part of the texts, and all get the result.
    """
    device, group = next(encoder.parameters()).device, distributed.current()
    rank, world = (group.rank, group.world) if shared else (0, 1)
    parts = _batches(tokens, wanted)[rank::world]
    training = encoder.training
    encoder.eval()
    try:
        vectors = torch.zeros(len(tokens.lengths), encoder.width)
        with tqdm(
            total=sum(map(len, parts)), unit="texts", desc="student", disable=not show_progress, leave=False
        ) as bar:
            for texts in parts:
                vectors[texts] = encode(encoder, tokens, texts, states).cpu()
                bar.update(len(texts))
    finally:
        encoder.train(training)
    if world > 1:
        own = torch.cat([torch.zeros(0, dtype=torch.long), *parts])
        for texts, encoded in group.all_gather((own, vectors[own])):
            vectors[texts] = encoded
    return vectors.to(device)


def _batches(tokens: Ragged, wanted: Tensor | None) -> list[Tensor]:
    """Numbers of texts of similar length, in groups of at most ``_TOKENS_PER_BATCH`` tokens with padding."""
    numbers = np.arange(len(tokens.lengths)) if wanted is None else wanted.numpy()
    order = numbers[tokens.lengths[numbers].argsort(kind="stable")]
    groups: list[Tensor] = []
    begin = 0
    for end, length in enumerate(tokens.lengths[order].tolist()):  # ascending: the last text is the longest
        if (end - begin + 1) * length > _TOKENS_PER_BATCH and end > begin:
            groups.append(torch.from_numpy(order[begin:end]))
            begin = end
    return [*groups, torch.from_numpy(order[begin:])] if len(order) else []


def random_directions(vectors: Tensor, tokens: Ragged) -> Tensor:
    """A control without knowledge: random vectors of the same norms, equal for equal texts.

    Args:
        vectors: Of N texts, ``(N, W)``.
        tokens: Of these texts, which seed the random numbers.
    """
    rows = []
    for begin, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        digest = hashlib.sha256(np.ascontiguousarray(tokens.values[begin:end]).tobytes()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        rows.append(torch.randn(vectors.shape[1], generator=generator))
    if not rows:
        return vectors
    return F.normalize(torch.stack(rows).to(vectors.device), dim=1) * vectors.norm(dim=1, keepdim=True)

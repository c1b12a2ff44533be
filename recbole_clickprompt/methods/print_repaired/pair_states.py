"""Vectors of pairs of a user's and an item's text from a frozen PLM, each pair read once.

Letters: see ``plm/__init__.py``; N pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.tensor_cache import TensorCache
from recbole_clickprompt.text.entity_texts import EntityTexts
from recbole_clickprompt.trainer.stage import autocast

__all__ = ["PairEncoder", "PairStates"]

_PAIRS_PER_BATCH = 128
_MOST_REMEMBERED = 1 << 16  # pairs that no file has
_CACHE = TensorCache(
    "clickprompt-pairs-1", "file of vectors of pairs", "delete it to compute it again", lambda _, t: [t["pairs"]]
)


class PairEncoder:
    """Reads pairs: ``[CLS] text of the user [SEP] text of the item [SEP]``.

    Args:
        plm: Run in evaluation mode, without gradients.
        texts: Texts of users and of items, each between special tokens, ``prefix`` of them at the start.
        prefix: Special tokens at the start of a text.
        suffix: Special tokens at its end.
        enable_amp: Compute in bf16.
    """

    def __init__(
        self,
        plm: PromptedEncoder,
        texts: Mapping[str, EntityTexts],
        *,
        prefix: int,
        suffix: int,
        enable_amp: bool,
    ) -> None:
        self.plm, self.texts = plm, texts
        self.prefix, self.suffix, self.enable_amp = prefix, suffix, enable_amp

    @property
    def width(self) -> int:
        """Numbers per pair, 2 W."""
        return 2 * self.plm.hidden_size

    def lengths(self, users: Tensor, items: Tensor) -> Tensor:
        """Tokens of pairs of ids, ``(N,)`` each, on the CPU: ``(N,)``."""
        return self.texts["user"].lengths[users] + self.texts["item"].lengths[items] - self.prefix

    def tokens(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids of pairs, ``(N, Z)``; their lengths; and those of the users' part, special tokens included."""
        user, item = self.texts["user"], self.texts["item"]
        first, lengths = user.lengths[users], self.lengths(users, items)
        places = torch.arange(int(lengths.max()))
        left, right = user.padded(user.tokens, users, 0), item.padded(item.tokens, items, 0)
        in_item = (places - first.unsqueeze(1) + self.prefix).clamp(0, right.shape[1] - 1)
        in_user = places.clamp(max=left.shape[1] - 1).expand(len(users), -1)
        whole = torch.where(places < first.unsqueeze(1), left.gather(1, in_user), right.gather(1, in_item))
        return whole.masked_fill(places >= lengths.unsqueeze(1), 0), lengths, first

    @torch.no_grad()
    def __call__(self, users: Tensor, items: Tensor) -> Tensor:
        """
        Args:
            users: Ids of users, ``(N,)`` on the CPU.
            items: Ids of items, ``(N,)`` on the CPU.

        Returns:
            ``(N, 2 W)`` float32 on the CPU: the summary state of a pair, and the mean state of its user's tokens.
        """
        device = next(self.plm.parameters()).device
        found = torch.empty(len(users), self.width)
        for rows in self.lengths(users, items).argsort(stable=True).split(_PAIRS_PER_BATCH):
            tokens, lengths, first = (part.to(device) for part in self.tokens(users[rows], items[rows]))
            self.plm.eval()
            with autocast(device, self.enable_amp):
                states = self.plm(tokens, lengths).float()  # (N, Z, W)
            place = lengths - 1 if self.plm.causal else torch.zeros_like(lengths)
            summary = states[torch.arange(len(states), device=device), place]
            at = torch.arange(states.shape[1], device=device)
            own = (at >= self.prefix) & (at < (first - self.suffix).unsqueeze(1))
            mean = (states * own.unsqueeze(2)).sum(1) / own.sum(1, keepdim=True).clamp(min=1)
            found[rows] = torch.cat([summary, mean], dim=1).cpu()
        return found


class PairStates:
    """Looks up vectors of pairs: those of the training rows in a file, others in memory, and computes the rest.

    The file is written once, in a fixed order, so that a resumed run reads the same numbers. Others depend on
    their company only by rounding.

    Args:
        encoder: Computes vectors.
        items: Number of item ids.
        pairs: Ids of the users and items of the rows that are trained on, ``(rows,)`` each; None in serving.
        folder: Of the file.
        weights: Hash of the PLM's weights, part of what identifies the file.
        show_progress: Show a progress bar.
    """

    def __init__(
        self,
        encoder: PairEncoder,
        *,
        items: int,
        pairs: tuple[Tensor, Tensor] | None,
        folder: Path,
        weights: Callable[[], str],
        show_progress: bool,
    ) -> None:
        self.encoder, self.items = encoder, items
        self._pairs, self._folder, self._weights, self._show_progress = pairs, folder, weights, show_progress
        self._known: tuple[Tensor, Tensor] | None = None  # ascending codes of pairs, and their vectors
        self._others: dict[int, Tensor] = {}

    def __call__(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            users: Ids of users, ``(N,)`` on any device.
            items: Ids of items, ``(N,)``.

        Returns:
            Summary states of the pairs, and mean states of their users' tokens, ``(N, W)`` each, float32 on the
            device of ``users``.

        Raises:
            WeightsError: The file is damaged.
            StorageError: The file cannot be written.
        """
        codes, places = (users.cpu() * self.items + items.cpu()).unique(return_inverse=True)
        vectors = self._of_codes(codes).to(users.device)[places.to(users.device)]
        summary, mean = vectors.chunk(2, dim=1)
        return summary, mean

    def _of_codes(self, codes: Tensor) -> Tensor:
        """Vectors of distinct pairs, ``(N, 2 W)``, by ``user * items + item``, ``(N,)``."""
        if self._known is None:
            self._known = self._read()
        known, stored = self._known
        place = torch.searchsorted(known, codes).clamp(max=max(len(known) - 1, 0))
        is_known = known[place] == codes if len(known) else torch.zeros_like(codes, dtype=torch.bool)
        vectors = torch.empty(len(codes), self.encoder.width)
        vectors[is_known] = stored[place[is_known]]
        others = (~is_known).nonzero().squeeze(1)
        wanted = codes[others].tolist()
        new = [code for code in wanted if code not in self._others]
        if new:
            if len(self._others) + len(new) > _MOST_REMEMBERED:
                self._others.clear()
                new = wanted
            numbers = torch.tensor(new)
            found = self.encoder(numbers // self.items, numbers % self.items)
            self._others.update(zip(new, found, strict=True))
        if wanted:
            vectors[others] = torch.stack([self._others[code] for code in wanted])
        return vectors

    def _read(self) -> tuple[Tensor, Tensor]:
        if self._pairs is None:
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, self.encoder.width)
        users, items = self._pairs
        codes = (users.long() * self.items + items.long()).unique()
        shape = (len(codes), self.encoder.width)
        path = self._folder / f"pairs-{self._key(codes)}.safetensors"

        def fill(out: np.ndarray) -> None:
            parts = codes.split(1 << 12)
            for number, part in enumerate(tqdm(parts, desc="pairs", disable=not self._show_progress)):
                begin = number << 12
                out[begin : begin + len(part)] = self.encoder(part // self.items, part % self.items).numpy()

        _, tensors = _CACHE.read_or_write(
            path, lambda: _CACHE.write_in_place(path, "pairs", shape, fill, dtype=torch.float32)
        )
        stored = tensors.get("pairs")
        if stored is None or stored.dtype is not torch.float32 or stored.shape != shape:
            raise WeightsError(
                f"{path} is damaged: it does not hold the vectors of these pairs; {_CACHE.recovery}"
            )
        return codes, stored

    def _key(self, codes: Tensor) -> str:
        """A hash of everything that determines the vectors, 16 hexadecimal digits."""
        encoder = self.encoder
        settings = [_CACHE.format, self._weights(), encoder.plm.num_layers, encoder.enable_amp]
        digest = hashlib.sha256(json.dumps(settings).encode())
        texts = [part for text in encoder.texts.values() for part in (text.tokens, text.offsets)]
        for tensor in (*texts, codes):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

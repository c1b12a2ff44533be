"""Vectors of texts by a frozen sentence encoder, computed once and kept in a file.

Letters: N texts, W width of the encoder's states.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from logging import getLogger
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.methods.text_vectors.kept_texts import earlier_files, hash_texts, places_of
from recbole_clickprompt.methods.text_vectors.level import Level
from recbole_clickprompt.methods.text_vectors.tables import hash_weights
from recbole_clickprompt.methods.text_vectors.texts import ListedTexts
from recbole_clickprompt.plm.config import read_config
from recbole_clickprompt.plm.loading import longest_text
from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder
from recbole_clickprompt.plm.weights import find_plm, text_files_hash, weights_hash
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.tensor_cache import TensorCache

__all__ = ["FrozenEncoder", "build_frozen_encoder"]

_CACHE = TensorCache("text-vectors-1", "file of vectors of texts", "delete it to compute it again")


class FrozenEncoder(nn.Module):
    """The mean of a frozen PLM's last states over the tokens of a text, normalized to length 1.

    The PLM is loaded when the first text is read, and is no part of a checkpoint, which holds a hash of its files:
    a trained model never reads vectors of another PLM. An empty text has the vector 0.

    Args:
        plm: As for ``SentenceEncoder``.
        seed: Seed of the run.
        max_length: Most tokens of a text; None for the PLM's maximum.
        random: A control: a random vector of length 1 instead, equal for equal texts. No text is read.
        folder: Where vectors are kept.
        device: Where the PLM runs.
        show_progress: Show a progress bar.

    Attributes:
        width: W.

    Raises:
        SettingError: The PLM cannot read texts of ``max_length`` tokens.
        WeightsError: There is no such PLM.
    """

    def __init__(
        self,
        plm: str,
        *,
        seed: int,
        max_length: int | None,
        random: bool,
        folder: Path,
        device: torch.device,
        show_progress: bool,
    ) -> None:
        super().__init__()
        self._plm, self._seed, self._device = plm, seed, device
        self._files = find_plm(plm, seed=seed)
        longest = longest_text(self._files)
        if max_length is not None and max_length > longest:
            raise SettingError(
                f"max_text_length is {max_length}, but the PLM reads at most {longest} tokens; lower it"
            )
        self._max_length = max_length or longest
        self._random, self._folder, self._show_progress = random, folder, show_progress
        self.width = int(read_config(self._files).hidden_size)
        self._encoder: SentenceEncoder | None = None
        self.trained_with: Tensor  # the digest when the model was trained, 0 before
        self.register_buffer("trained_with", torch.zeros(32, dtype=torch.uint8))

    def is_trained(self) -> bool:
        """Never."""
        return False

    def refresh(self, level: Level) -> None:
        """Sets ``level.vectors`` to the vectors of all texts, from the file if there is one.

        Raises:
            WeightsError: The model has no texts, as in serving; or the file is damaged or of other texts.
            StorageError: The file cannot be written.
        """
        if not isinstance(level.texts, ListedTexts):
            raise WeightsError(f"there are no texts to compute the vectors of {level.name}s from")
        level.vectors.rows = self.kept(level.texts.texts).to(level.vectors.rows.device)

    def kept(self, texts: Sequence[str]) -> Tensor:
        """Vectors for training, ``(N, W)`` float32 on the CPU, from a file that calls with equal texts share.

        If there is none yet, only texts that are in no file of the same PLM are encoded.
        """
        self.trained_with.copy_(self._digest_bytes())
        if self._random:
            return self._directions(texts)
        digest = hashlib.sha256(json.dumps([_CACHE.format, self.digest, list(texts)]).encode())
        path = self._folder / f"text-vectors-{digest.hexdigest()[:16]}.safetensors"
        key = {"texts": digest.hexdigest()}
        metadata, tensors = _CACHE.read_or_write(path, lambda: self._write(path, texts, key))
        if metadata.get("texts") != key["texts"]:
            raise WeightsError(f"{path} does not hold the vectors of these texts; delete it to compute it again")
        return tensors["vectors"].clone()  # the file stays unmapped, so it can be deleted

    def _write(self, path: Path, texts: Sequence[str], key: dict[str, str]) -> None:
        hashes = hash_texts(text.encode("utf-8", "surrogatepass") for text in texts)
        vectors, missing = torch.zeros(len(texts), self.width), torch.ones(len(texts), dtype=torch.bool)
        for earlier in earlier_files(_CACHE, self._folder, "text-vectors-*.safetensors", self.digest):
            _, tensors = _CACHE.read(earlier)
            places = places_of(hashes, tensors["hashes"])
            found = missing & (places >= 0)
            vectors[found] = tensors["vectors"][places[found]]
            missing &= ~found
        new = missing.nonzero().squeeze(1).tolist()
        if new:
            vectors[new] = self._encode([texts[number] for number in new])
        getLogger().info(f"{len(new)} of {len(texts)} texts are encoded, the others are known")
        _CACHE.write(path, {"vectors": vectors, "hashes": hashes}, {**key, "encoder": self.digest})

    def after_warm_start(self, saved: Mapping[str, Tensor]) -> None:
        """Raises SettingError if the saved model read vectors of another PLM; see ``TakesWarmStart``."""
        if not torch.equal(saved["trained_with"].cpu(), self._digest_bytes()):
            raise SettingError(
                f"warm_start: the saved model was trained with other vectors of texts than those of plm: "
                f"{self._plm}, max_text_length: {self._max_length}, knowledge_vectors: "
                f"{'random' if self._random else 'texts or answers'}; use the files and settings of its run"
            )

    def before_warm_start(self, saved: Mapping[str, Tensor]) -> None:
        """Nothing: vectors are found in files."""

    def of_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """Vectors of any texts, ``(N, W)`` float32 on the device; equal at both levels.

        Raises:
            WeightsError: The PLM's files are not those of training.
        """
        if self.trained_with.any() and not torch.equal(self.trained_with.cpu(), self._digest_bytes()):
            raise WeightsError(
                f"plm {self._plm!r}: its files, or max_text_length, are not those that the model was trained "
                "with, so new texts cannot be encoded; put the files of training back"
            )
        return (self._directions(texts) if self._random else self._encode(texts)).to(self._device)

    @functools.cached_property
    def digest(self) -> str:
        """A hash of everything that vectors depend on, in hexadecimal."""
        parts = [weights_hash(self._files), text_files_hash(self._files), self._max_length, self._random]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def hash_with(self, others: Iterable[nn.Module]) -> str:
        """A hash of everything that vectors depend on and of the weights of modules, in hexadecimal."""
        return hash_weights(self.digest, others)

    def _digest_bytes(self) -> Tensor:
        return torch.frombuffer(bytearray.fromhex(self.digest), dtype=torch.uint8)

    def _encode(self, texts: Sequence[str]) -> Tensor:
        if self._encoder is None:
            self._encoder = SentenceEncoder(
                self._plm,
                device=self._device,
                max_length=self._max_length,
                seed=self._seed,
                show_progress=self._show_progress,
            )
        vectors = torch.zeros(len(texts), self.width)
        read = [number for number, text in enumerate(texts) if text]
        vectors[read] = torch.from_numpy(self._encoder([texts[number] for number in read]))
        return vectors

    def _directions(self, texts: Sequence[str]) -> Tensor:
        vectors = torch.zeros(len(texts), self.width)
        for vector, text in zip(vectors, texts, strict=True):
            if text:
                seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7], "little")
                vector.normal_(generator=torch.Generator().manual_seed(seed))
        return F.normalize(vectors, dim=1)


def build_frozen_encoder(config: Settings) -> FrozenEncoder:
    """The encoder that the settings ``plm`` and ``knowledge_vectors`` name."""
    return FrozenEncoder(
        config["plm"],
        seed=config["seed"],
        max_length=config["max_text_length"],
        random=config["knowledge_vectors"] == "random",
        folder=Path(config["checkpoint_dir"]),
        device=config["device"],
        show_progress=config["show_progress"],
    )

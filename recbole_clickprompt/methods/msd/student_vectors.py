"""The student with everything needed to make vectors of texts: tokenizer, states of frozen layers, settings.

Letters: N texts, W width of the student's states.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.methods.msd.encoder import StudentEncoder
from recbole_clickprompt.methods.msd.encoding import encode, encode_all, random_directions
from recbole_clickprompt.methods.msd.frozen_states import frozen_states
from recbole_clickprompt.methods.msd.level import Level, Rows
from recbole_clickprompt.methods.msd.student_texts import StudentTexts, StudentTokenizer

__all__ = ["StudentVectors"]


class StudentVectors(nn.Module):
    """Makes vectors of texts.

    Args:
        encoder: The student.
        tokenize: Of the student.
        folder: Where states of frozen layers are kept.
        random: A control: random vectors of the same norms instead of the student's, which is then not trained.
        enable_amp: Compute in bf16.
        show_progress: Show progress bars.
    """

    def __init__(
        self,
        encoder: StudentEncoder,
        tokenize: StudentTokenizer,
        *,
        folder: Path,
        random: bool,
        enable_amp: bool,
        show_progress: bool,
    ) -> None:
        super().__init__()
        self.encoder, self._tokenize = encoder, tokenize
        self._folder, self._random = folder, random
        self._enable_amp, self._show_progress = enable_amp, show_progress

    def is_trained(self) -> bool:
        """Whether any weight is trained."""
        return self.encoder.is_trained()

    def refresh(self, level: Level) -> None:
        """Computes the vectors of all texts of a level, by all processes together.

        Raises:
            WeightsError: The model has no texts, as in serving.
        """
        texts = self._texts(level)
        with self._autocast():
            if self.encoder.num_frozen and level.states is None:
                level.states = frozen_states(
                    self.encoder,
                    texts,
                    folder=self._folder,
                    enable_amp=self._enable_amp,
                    show_progress=self._show_progress,
                )
            vectors = encode_all(
                self.encoder, texts.tokens, level.states, show_progress=self._show_progress, shared=True
            )
        level.vectors.rows = random_directions(vectors, texts.tokens) if self._random else vectors

    def encoded(self, level: Level, ids: Tensor) -> Rows:
        """Adapted vectors of ids of any shape, each distinct text read once, with gradients into the student."""
        texts, places = torch.unique(level.index[ids], return_inverse=True)
        tokens = self._texts(level).tokens
        with self._autocast():
            vectors = encode(self.encoder, tokens, texts, level.states)
        if self._random:
            chosen = tokens.join([(tokens, texts.cpu().numpy())])
            vectors = random_directions(vectors, chosen)
        return Rows(level.adaptor(vectors), places)

    @torch.no_grad()
    def of_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """Vectors of any texts of a level, ``(N, W)`` float32."""
        new = StudentTexts(self._tokenize, level, texts)
        with self._autocast():
            vectors = encode_all(self.encoder, new.tokens)
        if self._random:
            vectors = random_directions(vectors, new.tokens)
        return vectors[new.index.to(vectors.device)]

    def hash_with(self, others: Iterable[nn.Module]) -> str:
        """A hash of all weights and of the weights of other modules, in hexadecimal."""
        digest = hashlib.sha256(f"{self._tokenize.max_length} {self._random} {self._enable_amp}".encode())
        for module in (self.encoder, *others):
            for name, weight in module.state_dict().items():
                digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
                digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _texts(self, level: Level) -> StudentTexts:
        if level.texts is None:
            raise WeightsError(
                f"the vectors of {level.name}s are not those of the weights, and there are no texts to compute "
                "them from; save the model after an evaluation"
            )
        return level.texts

    def _autocast(self) -> torch.autocast:
        device = next(self.encoder.parameters()).device
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._enable_amp)

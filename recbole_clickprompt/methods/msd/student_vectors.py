"""The student with everything needed to make vectors of texts: tokenizer, states of frozen layers, settings.

Letters: N texts, W width of the student's states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.methods.msd.encoder import StudentEncoder
from recbole_clickprompt.methods.msd.encoding import encode, encode_all, random_directions
from recbole_clickprompt.methods.msd.frozen_states import FrozenStates, frozen_states
from recbole_clickprompt.methods.msd.student_texts import StudentTexts, StudentTokenizer
from recbole_clickprompt.methods.text_vectors.level import Level, Rows
from recbole_clickprompt.methods.text_vectors.tables import TextTables, hash_weights

__all__ = ["StudentTables", "StudentVectors"]


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
        self._states: dict[str, FrozenStates] = {}  # of the frozen layers by level, once they are needed
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
            if self.encoder.num_frozen and level.name not in self._states:
                self._states[level.name] = frozen_states(
                    self.encoder,
                    texts,
                    folder=self._folder,
                    enable_amp=self._enable_amp,
                    show_progress=self._show_progress,
                )
            vectors = encode_all(
                self.encoder,
                texts.tokens,
                self._states.get(level.name),
                show_progress=self._show_progress,
                shared=True,
            )
        level.vectors.rows = random_directions(vectors, texts.tokens) if self._random else vectors

    def encoded(self, level: Level, ids: Tensor) -> Rows:
        """Adapted vectors of ids of any shape, each distinct text read once, with gradients into the student."""
        texts, places = torch.unique(level.index[ids], return_inverse=True)
        tokens = self._texts(level).tokens
        with self._autocast():
            vectors = encode(self.encoder, tokens, texts, self._states.get(level.name))
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
        start = f"{self._tokenize.max_length} {self.encoder.pooling} {self._random} {self._enable_amp}"
        return hash_weights(start, (self.encoder, *others))

    def _texts(self, level: Level) -> StudentTexts:
        if level.texts is None:
            raise WeightsError(
                f"the vectors of {level.name}s are not those of the weights, and there are no texts to compute "
                "them from; save the model after an evaluation"
            )
        assert isinstance(level.texts, StudentTexts)
        return level.texts

    def _autocast(self) -> torch.autocast:
        device = next(self.encoder.parameters()).device
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._enable_amp)


class StudentTables(TextTables):
    """The levels of texts and the student that reads them.

    Args:
        student: Reads texts.
        levels: By name.
    """

    def __init__(self, student: StudentVectors, levels: Mapping[str, Level]) -> None:
        super().__init__(levels)
        self.student = student

    @property
    def reader(self) -> StudentVectors:
        """The student."""
        return self.student

    def training_rows(self, name: str, ids: Tensor, *, trained: bool) -> Rows:
        """Adapted vectors of ids of any shape in training; ``trained``: with gradients into the student."""
        level = self.named_levels()[name]
        return self.computed(name, ids) if trained and self.student.is_trained() else level.from_vectors(ids)

    def computed(self, name: str, ids: Tensor) -> Rows:
        """Adapted vectors of ids of any shape, from their texts alone, each distinct text read once."""
        return self.student.encoded(self.named_levels()[name], ids)

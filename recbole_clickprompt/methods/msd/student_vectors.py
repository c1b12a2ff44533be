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
from recbole_clickprompt.methods.text_vectors.kept_texts import places_of
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
        # What vectors depend on besides tokens and weights: vectors of a run with other settings are not reused
        self._read_with = f"{encoder.pooling} {encoder.lora_scale} {random} {enable_amp}"
        # By level, hashes of texts and their vectors by the present weights, from an earlier run
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def start_from(self, weights: Mapping[str, Tensor], known: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Takes the student of an earlier run and the vectors that it has made, if the weights fit.

        Args:
            weights: Of this module.
            known: By level, hashes of texts and of how they were read, ``(U, HASH_SIZE)``, and their vectors,
                ``(U, W)``.
        """
        own = {name: weight.shape for name, weight in self.state_dict().items()}
        if own == {name: weight.shape for name, weight in weights.items()}:
            self.load_state_dict(weights)
            self._known = {name: parts for name, parts in known.items() if len(parts[0]) == len(parts[1])}

    def weights_change(self) -> None:
        """To be called before a step that changes weights: earlier vectors are then of no use."""
        self._known = {}

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
            hashes = texts.hashes(self._read_with)
            known, stored = self._known.get(level.name, (hashes[:0], torch.zeros(0, self.encoder.width)))
            places = places_of(hashes, known)
            found = places >= 0
            vectors = encode_all(
                self.encoder,
                texts.tokens,
                self._states.get(level.name),
                wanted=(~found).nonzero().squeeze(1),
                show_progress=self._show_progress,
                shared=True,
            )
        vectors[found.to(vectors.device)] = stored[places[found]].to(vectors)
        level.vectors.rows = random_directions(vectors, texts.tokens) if self._random else vectors
        level.text_hashes = hashes.to(vectors.device)

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
        return hash_weights(f"{self._tokenize.max_length} {self._read_with}", (self.encoder, *others))

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

    def before_step(self) -> None:
        """As for ``TextTables``; vectors of an earlier run are no longer those of the weights."""
        if self.student.is_trained():
            self.student.weights_change()
        super().before_step()

    def before_warm_start(self, saved: Mapping[str, Tensor]) -> None:
        """Takes the earlier student and its vectors of texts, so that only new texts are read."""
        known = {
            name: (saved[f"levels.{name}.text_hashes"], saved[f"levels.{name}.vectors.rows"])
            for name in self.named_levels()
            if f"levels.{name}.text_hashes" in saved
        }
        weights = {k.removeprefix("student."): v for k, v in saved.items() if k.startswith("student.")}
        self.student.start_from(weights, known)

    def after_warm_start(self, saved: Mapping[str, Tensor]) -> None:
        """Nothing more."""

    def training_rows(self, name: str, ids: Tensor, *, trained: bool) -> Rows:
        """Adapted vectors of ids of any shape in training; ``trained``: with gradients into the student."""
        level = self.named_levels()[name]
        return self.computed(name, ids) if trained and self.student.is_trained() else level.from_vectors(ids)

    def computed(self, name: str, ids: Tensor) -> Rows:
        """Adapted vectors of ids of any shape, from their texts alone, each distinct text read once."""
        return self.student.encoded(self.named_levels()[name], ids)

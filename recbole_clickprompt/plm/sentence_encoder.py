"""Vectors of sentences and phrases by a frozen PLM."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer, longest_text
from recbole_clickprompt.plm.weights import find_plm

__all__ = ["SentenceEncoder"]

_TEXTS_PER_BATCH = 256


class SentenceEncoder:
    """Encodes texts as the mean of a PLM's last states over their tokens, normalized to length 1.

    Args:
        plm: ``minilm``, a folder, or a Hugging Face id of a family in ``architectures/``.
        device: Where it runs.
        max_length: Most tokens of a text; None for the PLM's maximum.
        seed: Seed of the run, for the weights of ``hashed``.
        show_progress: Show a progress bar.

    Raises:
        WeightsError: As for ``find_plm`` and ``load_plm``.
    """

    def __init__(
        self,
        plm: str = "minilm",
        *,
        device: torch.device | str = "cpu",
        max_length: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
    ) -> None:
        folder = find_plm(plm, seed=seed)
        self.device, self.longest = torch.device(device), max_length or longest_text(folder)
        self._show_progress = show_progress
        self.tokenizer = load_tokenizer(folder)
        self.plm = PromptedEncoder(load_plm(folder, num_layers=None, dropout=None).encoder).to(self.device).eval()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts, ``(texts, W)`` float32; equal texts have equal vectors.

        Longer texts are cut.
        """
        distinct = sorted(dict.fromkeys(texts), key=lambda text: (len(text), text))
        vectors = np.empty((len(distinct), self.plm.hidden_size), dtype=np.float32)
        starts = range(0, len(distinct), _TEXTS_PER_BATCH)
        for begin in tqdm(starts, desc="sentence encoder", disable=not self._show_progress, leave=False):
            batch = distinct[begin : begin + _TEXTS_PER_BATCH]
            tokens = self.tokenizer(
                batch, padding=True, padding_side="right", truncation=True, max_length=self.longest,
                return_tensors="pt",
            )  # fmt: skip
            mask = tokens["attention_mask"].to(self.device)  # (B, Z)
            states = self.plm(tokens["input_ids"].to(self.device), mask.sum(1)).float()  # (B, Z, W)
            mean = (states * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
            vectors[begin : begin + len(batch)] = nn.functional.normalize(mean, dim=1).cpu().numpy()
        place = {text: number for number, text in enumerate(distinct)}
        return vectors[[place[text] for text in texts]]

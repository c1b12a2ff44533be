"""The model of self-training: a language model that matches values with the names of their fields (LLaCTR).

Letters: B values of a part, F fields, W width of the language model's states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.methods.llactr.field_values import EXAMPLE, FieldValues
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer, longest_text
from recbole_clickprompt.plm.lora import add_lora
from recbole_clickprompt.plm.pooling import AveragePooling
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.running_metrics import RunningMean

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

__all__ = ["FieldMatching", "build_field_matching"]

_TEMPERATURE = 0.02
_QUERY = "a field with the value {}"


class FieldMatching(nn.Module):
    """A ``trainer.protocols.StageModel``: InfoNCE of a value with the names of all fields::

        "a field with the value Se7en" ──> PLM ──> (B, W) ──┐
        "movie title", "film genre", ... ──> PLM ──> (F, W) ─┴─ cosines / 0.02 (B, F) ──> cross entropy

    Args:
        plm: The language model.
        tokenizer: Its tokenizer.
        longest: Most tokens of a text.
        values: The examples.

    Attributes:
        metrics: Loss and accuracy per value.
    """

    def __init__(self, plm: PromptedEncoder, tokenizer: Any, *, longest: int, values: FieldValues) -> None:
        super().__init__()
        self.plm, self.values = plm, values
        self.metrics: Mapping[str, RunningMean] = {"fields": RunningMean()}
        self._tokenizer, self._longest, self._pooling = tokenizer, longest, AveragePooling((-1,))
        self._fields = torch.tensor([value.field for value in values.values])

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """All."""
        return list(self.parameters())

    def split(self, batch: Interaction, size: int) -> list[tuple[Tensor, float]]:
        """Numbers of values in parts of at most ``size``."""
        numbers = batch[EXAMPLE].cpu()
        return [(part, len(part) / len(numbers)) for part in numbers.split(size)]

    def rows(self, part: Tensor) -> int:
        """Number of values of a part."""
        return len(part)

    def select(self, part: Tensor, rows: Tensor) -> tuple[Tensor, float]:
        """A subset of values, and its share of the part."""
        return part[rows], len(rows) / len(part)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """The mean of the last states of texts, ``(N, W)`` float32 of length 1."""
        device = next(self.parameters()).device
        tokens = self._tokenizer(
            list(texts), padding=True, padding_side="right", truncation=True, max_length=self._longest,
            return_tensors="pt",
        ).to(device)  # fmt: skip
        pooled = self._pooling(self.plm, tokens["input_ids"], tokens["attention_mask"].sum(1), None)
        return F.normalize(pooled.float(), dim=1)

    def calculate_loss(self, part: Tensor) -> Tensor:
        """Mean cross entropy of finding the field of a value, a scalar."""
        queries = self.encode([_QUERY.format(self.values.values[number].text) for number in part.tolist()])
        scores = queries @ self.encode(self.values.names).T / _TEMPERATURE  # (B, F)
        target = self._fields[part].to(scores.device)
        loss = F.cross_entropy(scores, target)
        self.metrics["fields"].add(loss.detach(), scores.argmax(1) == target)
        return loss


def build_field_matching(config: Settings, values: FieldValues, *, adapted: bool = True) -> FieldMatching:
    """The language model of a run, with LoRA adapters if the settings ask for them.

    Args:
        config: Settings of the run: ``plm`` and ``plm_lora``.
        values: The examples.
        adapted: Whether ``plm_lora`` counts; False for the language model as it is.

    Raises:
        SettingError: As for ``add_lora``.
        WeightsError: The PLM cannot be obtained.
    """
    folder = find_plm(config["plm"], seed=config["seed"])
    encoder = load_plm(folder, num_layers=None, dropout=0.0).encoder
    if adapted and config["plm_lora"]:
        add_lora(encoder, config["plm_lora"])
    return FieldMatching(
        PromptedEncoder(encoder), load_tokenizer(folder), longest=longest_text(folder), values=values
    )

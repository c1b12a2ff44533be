"""ClickPrompt in its plain form, of the same weights: what speed is compared with and equality is held to.

Each row's sentence is tokenised, prompts are written by one small MLP each and concatenated in front of every
layer's states, transformers' own layer runs over all of it, what came out for the prompts is dropped, and the LM
head reads every position. Float32, no micro-batches.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.clickprompt.model import ClickPrompt
from recbole_clickprompt.methods.clickprompt.pamlm import PAMLM
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator
from recbole_clickprompt.plm.dropout import replace_dropout
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.pooling import SummaryPooling
from recbole_clickprompt.text.masking import MaskedText
from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["PlainClickPrompt", "PlainPAMLM", "run_with_prompts"]

_FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert")


def run_with_prompts(layer: Any, states: Tensor, prompt: Tensor, mask: Tensor, **more: Any) -> Tensor:
    """Eq. 7 as it stands: concatenate, run transformers' layer, drop.

    Args:
        layer: A layer of transformers.
        states: Of the text, ``(B, Z, W)``.
        prompt: Of this layer, ``(B, K, W)``.
        mask: As the layer takes it, over K + Z positions.
        more: What else the layer takes.

    Returns:
        ``(B, Z, W)``.
    """
    out = layer(torch.cat([prompt, states], dim=1), attention_mask=mask, **more)
    return (out[0] if isinstance(out, tuple) else out)[:, prompt.shape[1] :]


class _PlainPrompts(nn.Module):
    """L·K separate MLPs, one a prompt."""

    def __init__(self, generator: PromptGenerator) -> None:
        super().__init__()
        self.shape = generator.shape
        width = self.shape[2]
        self.mlps = nn.ModuleList()
        for index in range(self.shape[0] * self.shape[1]):
            first = nn.Linear(generator.hidden.in_features, width)
            second = nn.Linear(width, width)
            rows = slice(index * width, (index + 1) * width)
            with torch.no_grad():
                first.weight.copy_(generator.hidden.weight[rows])
                first.bias.copy_(generator.hidden.bias[rows])
                second.weight.copy_(generator.weight[index].T)
                second.bias.copy_(generator.bias[index, 0])
            self.mlps.append(nn.Sequential(first, nn.Tanh(), second))

    def forward(self, q: Tensor) -> list[Tensor]:
        """``(B, Q)`` to ``(B, K, W)`` of each layer."""
        layers, prompts, _ = self.shape
        of_layer = [self.mlps[layer * prompts : (layer + 1) * prompts] for layer in range(layers)]
        return [torch.stack([mlp(q) for mlp in mlps], dim=1) for mlps in of_layer]


class _Plain(nn.Module):
    """Takes over backbone, prompts and PLM of a model of ours, which is given up for it.

    Raises:
        SettingError: Its prompts or its PLM have no plain form here.
    """

    def __init__(self, model: PAMLM | ClickPrompt, table: TokenTable, tokenizer: Any) -> None:
        super().__init__()
        if type(model.plm) is not PromptedEncoder or not isinstance(model.prompt, PromptGenerator):
            raise SettingError(
                "the benchmark's plain form has layerwise prompts of one MLP each; leave prompt_strategy, "
                "prompt_projection and finetune_prompts at their defaults"
            )
        family = model.plm.encoder.config.model_type
        if family not in _FAMILIES:
            raise SettingError(f"the benchmark's plain form knows {', '.join(_FAMILIES)}, not {family}")
        self.tokenizer, self.textualizer = tokenizer, table.textualizer
        self.max_length, self.keys = table.max_length, table.keys
        self.backbone, self.encoder = model.backbone, model.plm.encoder
        replace_dropout(self.encoder, nn.Dropout)
        self.prompt = _PlainPrompts(model.prompt)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """What trains at the PLM's rate."""
        return list(self.encoder.parameters())

    def tokenize(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """Row by row, as a plain loader does; ids ``(B, Z)`` and lengths ``(B,)``."""
        ids = {key: interaction[key].tolist() for key in self.keys}
        rows = range(len(interaction))
        sentences = [self.textualizer.sentence({key: ids[key][row] for key in self.keys}) for row in rows]
        tokens = self.tokenizer(
            sentences, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        device = next(self.parameters()).device
        return tokens["input_ids"].to(device), tokens["attention_mask"].sum(1).to(device)

    def states(self, input_ids: Tensor, lengths: Tensor, q: Tensor) -> Tensor:
        """States behind the last layer, ``(B, Z, W)``."""
        states = self.encoder.embeddings(input_ids=input_ids)
        prompts = self.prompt(q)
        text = torch.arange(input_ids.shape[1], device=input_ids.device) < lengths.unsqueeze(1)
        seen = torch.cat([text.new_ones(len(text), prompts[0].shape[1]), text], dim=1)[:, None, None]
        mask = torch.zeros(seen.shape, device=seen.device)
        mask = mask.masked_fill(~seen, torch.finfo(torch.float32).min).expand(-1, 1, seen.shape[3], -1)
        for layer, prompt in zip(self.encoder.encoder.layer, prompts, strict=True):
            states = run_with_prompts(layer, states, prompt, mask)
        return states


class PlainPAMLM(_Plain):
    """PA-MLM with vocabulary logits at every position."""

    def __init__(self, model: PAMLM, tokenizer: Any) -> None:
        if not isinstance(model.text, MaskedText) or model.vocabulary is not None:
            raise SettingError(
                "the benchmark's plain form masks any token and has logits of all; leave mask_target, "
                "mlm_candidates and plm_interaction_layers at their defaults, or give them in a --variant"
            )
        super().__init__(model, model.text.table, tokenizer)
        self.lm_head: Any = model.lm_head.head
        self.new_head = model.new_head
        self.masker = model.text.masker

    def pretrained_parameters(self) -> list[nn.Parameter]:
        head = [] if self.new_head else list(self.lm_head.parameters())
        return list({id(p): p for p in [*self.encoder.parameters(), *head]}.values())

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean cross entropy over the masked positions."""
        input_ids, lengths = self.tokenize(interaction)
        masked = self.masker(input_ids, lengths)
        labels = torch.full_like(input_ids, -100)
        row, slot = torch.nonzero(masked.labels >= 0, as_tuple=True)
        labels[row, masked.positions[row, slot]] = masked.labels[row, slot]
        q, _ = self.backbone(interaction)
        logits = self.lm_head(self.states(masked.text, lengths, q))  # (B, Z, V)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


class PlainClickPrompt(_Plain):
    """Finetuning and prediction with the PLM, the first position's state pooled."""

    def __init__(self, model: ClickPrompt, tokenizer: Any) -> None:
        if not isinstance(model.pooling, SummaryPooling) or not isinstance(model.text, TokenTable):
            raise SettingError(
                "the benchmark's plain form pools the first position of all layers; leave plm_pooling and "
                "plm_interaction_layers at their defaults, or give the latter in a --variant"
            )
        super().__init__(model, model.text, tokenizer)
        self.label_field, self.head, self.fusion_weight = model.label_field, model.head, model.fusion_weight

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        input_ids, lengths = self.tokenize(interaction)
        q, ctr = self.backbone(interaction)
        plm = self.head(self.states(input_ids, lengths, q)[:, 0]).squeeze(1)
        return self.fusion_weight * ctr + (1 - self.fusion_weight) * plm

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy."""
        return F.binary_cross_entropy_with_logits(self(interaction), interaction[self.label_field].float())

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores, ``(B,)``."""
        return torch.sigmoid(self(interaction))

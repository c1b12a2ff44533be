"""Where the models get the text of a row from, as a config says: tokens, or states of frozen lower layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.plm.cached_states import lower_states
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.weights import find_plm, weights_hash
from recbole_clickprompt.text.entity_texts import LoneTexts, lone_texts
from recbole_clickprompt.text.masked_text import MaskedText, MaskedValues
from recbole_clickprompt.text.masking import FieldMasker, NextTokens, TokenMasker
from recbole_clickprompt.text.states import MaskedStates, NextStates, StateTable
from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["build_masked_text", "build_text"]

_TEXTS_AT_ONCE = 8192
# Masks of texts whose states are kept are drawn from a seed of their own: runs of other seeds share the file
_SEED = 0


def build_text(config: Any, dataset: Any, plm: PromptedEncoder) -> TokenTable | StateTable:
    """The text of the rows, intact: what a PLM's first layer that sees whole rows takes."""
    table: TokenTable = dataset.token_table(config["plm"])
    # What serves a model has no table: its rows bring their text along
    if not plm.first_layer or not isinstance(table, TokenTable):
        return table
    texts = lone_texts(table)
    return _state_table(config, table, texts, [[text.tokens for text in texts]], plm)


def build_masked_text(config: Any, dataset: Any, plm: PromptedEncoder) -> nn.Module:
    """The text of the rows with tokens to recover.

    Raises:
        SettingError: ``mask_target`` asks for masks, and the PLM reads forward.
    """
    table: TokenTable = dataset.token_table(config["plm"])
    target = config["mask_target"]
    if plm.causal:
        if target != "tokens":
            raise SettingError(f"mask_target: {target} masks text, but this PLM reads it forward; use tokens")
        return NextStates(*_intact(config, table, plm)) if plm.first_layer else MaskedText(table, NextTokens())
    masker = _masker(config, dataset.tokenizer(config["plm"]))
    if not plm.first_layer:
        return MaskedText(table, masker) if target == "tokens" else MaskedValues(table, masker)
    texts = lone_texts(table)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        copies = [
            [_masked(text, masker, by_field=target != "tokens") for text in texts]
            for _ in range(config["plm_cached_masks"])
        ]
    states = _state_table(config, table, texts, [[read for read, _ in copy] for copy in copies], plm)
    kept = [text.kept() for text in texts]
    return MaskedStates(
        states, torch.cat([of[k] for copy in copies for (_, of), k in zip(copy, kept, strict=True)])
    )


def _masker(config: Any, tokenizer: Any) -> TokenMasker:
    kind = FieldMasker if config["mask_target"] == "fields" else TokenMasker
    return kind(
        mask_ratio=config["mask_ratio"],
        mask_id=tokenizer.mask_token_id,
        special_ids=tokenizer.all_special_ids,
        vocab_size=len(tokenizer),
    )


def _intact(config: Any, table: TokenTable, plm: PromptedEncoder) -> tuple[StateTable, Tensor]:
    texts = lone_texts(table)
    states = _state_table(config, table, texts, [[text.tokens for text in texts]], plm)
    return states, torch.cat([text.tokens[text.kept()] for text in texts])


def _masked(text: LoneTexts, masker: TokenMasker, *, by_field: bool) -> tuple[Tensor, Tensor]:
    """Tokens of texts with some of them masked, and what those were, elsewhere -100; each ``(N,)``."""
    read, labels = text.tokens.clone(), torch.full_like(text.tokens, -100)
    there = torch.nonzero(text.lengths > 0).squeeze(1)
    padding = int(torch.nonzero(masker.special)[0])
    for ids in there.split(_TEXTS_AT_ONCE):
        lengths = text.lengths[ids]
        fields = text.padded(text.fields, ids, 0) if by_field else None
        masked = masker(text.padded(text.tokens, ids, padding), lengths, fields)
        inside = torch.arange(masked.text.shape[1]) < lengths.unsqueeze(1)
        read[(text.offsets[ids].unsqueeze(1) + torch.arange(inside.shape[1]))[inside]] = masked.text[inside]
        row, slot = torch.nonzero(masked.labels >= 0, as_tuple=True)
        labels[text.offsets[ids[row]] + masked.positions[row, slot]] = masked.labels[row, slot]
    return read, labels


def _state_table(
    config: Any, table: TokenTable, texts: list[LoneTexts], copies: list[list[Tensor]], plm: PromptedEncoder
) -> StateTable:
    plm.to(config["device"])
    states = lower_states(
        plm,
        [pair for copy in copies for pair in zip(texts, copy, strict=True)],
        folder=Path(config["checkpoint_dir"]),
        weights=weights_hash(find_plm(config["plm"])),
        enable_amp=config["enable_amp"],
        show_progress=config["show_progress"],
    )
    offsets, begin = [], 0
    for text in texts:
        kept = torch.cat([torch.zeros(1, dtype=torch.long), text.kept().cumsum(0)])
        offsets.append(kept[text.offsets] + begin)
        begin += int(kept[-1])
    return StateTable(
        keys=table.keys, offsets=offsets, states=states, copies=len(copies), max_length=table.max_length
    )

"""What the models read as the text of a row, by config: tokens, or outputs of frozen lower layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.plm.cached_states import cached_hidden_states
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.weights import find_plm, weights_hash
from recbole_clickprompt.text.entity_texts import EntityTexts, entity_texts
from recbole_clickprompt.text.masking import FieldMasker, MaskedText, MaskedValues, NextTokens, TokenMasker
from recbole_clickprompt.text.states import MaskedStates, NextStates, StateTable
from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["build_masked_text", "build_text_table"]

_TEXTS_PER_BATCH = 8192
# Masks of texts whose states are cached have a fixed seed, so that runs with different seeds share the file
_SEED = 0


def build_text_table(config: Any, dataset: Any, plm: PromptedEncoder) -> TokenTable | StateTable:
    """The unmasked text of the rows: inputs of the PLM's first layer that reads whole rows."""
    table: TokenTable = dataset.token_table(config["plm"])
    # In serving there is no table: rows contain their text
    if not plm.num_frozen_layers or not isinstance(table, TokenTable):
        return table
    texts = entity_texts(table)
    return _state_table(config, table, texts, [[text.tokens for text in texts]], plm)


def build_masked_text(config: Any, dataset: Any, plm: PromptedEncoder) -> nn.Module:
    """The masked text of the rows.

    Raises:
        SettingError: ``mask_target`` needs masks, but the PLM reads forward.
    """
    table: TokenTable = dataset.token_table(config["plm"])
    target = config["mask_target"]
    if plm.causal:
        if target != "tokens":
            raise SettingError(f"mask_target: {target} masks text, but this PLM reads it forward; use tokens")
        if plm.num_frozen_layers:
            return NextStates(*_unmasked(config, table, plm))
        return MaskedText(table, NextTokens())
    masker = _masker(config, dataset.tokenizer(config["plm"]))
    if not plm.num_frozen_layers:
        return MaskedText(table, masker) if target == "tokens" else MaskedValues(table, masker)
    texts = entity_texts(table)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        copies = [
            [_masked(text, masker, by_field=target != "tokens") for text in texts]
            for _ in range(config["plm_cached_masks"])
        ]
    states = _state_table(config, table, texts, [[tokens for tokens, _ in copy] for copy in copies], plm)
    masks = [text.in_row_mask() for text in texts]
    labels = [labels[mask] for copy in copies for (_, labels), mask in zip(copy, masks, strict=True)]
    return MaskedStates(states, torch.cat(labels))


def _masker(config: Any, tokenizer: Any) -> TokenMasker:
    kind = FieldMasker if config["mask_target"] == "fields" else TokenMasker
    return kind(
        mask_ratio=config["mask_ratio"],
        mask_id=tokenizer.mask_token_id,
        special_ids=tokenizer.all_special_ids,
        vocab_size=len(tokenizer),
    )


def _unmasked(config: Any, table: TokenTable, plm: PromptedEncoder) -> tuple[StateTable, Tensor]:
    texts = entity_texts(table)
    states = _state_table(config, table, texts, [[text.tokens for text in texts]], plm)
    return states, torch.cat([text.tokens[text.in_row_mask()] for text in texts])


def _masked(text: EntityTexts, masker: TokenMasker, *, by_field: bool) -> tuple[Tensor, Tensor]:
    """Tokens of texts, some of them masked, and the original of those, elsewhere -100; each ``(N,)``."""
    read, labels = text.tokens.clone(), torch.full_like(text.tokens, -100)
    not_empty = torch.nonzero(text.lengths > 0).squeeze(1)
    padding = int(torch.nonzero(masker.special)[0])
    for ids in not_empty.split(_TEXTS_PER_BATCH):
        lengths = text.lengths[ids]
        fields = text.padded(text.fields, ids, 0) if by_field else None
        masked = masker(text.padded(text.tokens, ids, padding), lengths, fields)
        inside = torch.arange(masked.text.shape[1]) < lengths.unsqueeze(1)
        read[(text.offsets[ids].unsqueeze(1) + torch.arange(inside.shape[1]))[inside]] = masked.text[inside]
        row, slot = torch.nonzero(masked.labels >= 0, as_tuple=True)
        labels[text.offsets[ids[row]] + masked.positions[row, slot]] = masked.labels[row, slot]
    return read, labels


def _state_table(
    config: Any, table: TokenTable, texts: list[EntityTexts], copies: list[list[Tensor]], plm: PromptedEncoder
) -> StateTable:
    plm.to(config["device"])
    states = cached_hidden_states(
        plm,
        [pair for copy in copies for pair in zip(texts, copy, strict=True)],
        folder=Path(config["checkpoint_dir"]),
        weights=weights_hash(find_plm(config["plm"])),
        enable_amp=config["enable_amp"],
        show_progress=config["show_progress"],
    )
    offsets, begin = [], 0
    for text in texts:
        kept = torch.cat([torch.zeros(1, dtype=torch.long), text.in_row_mask().cumsum(0)])
        offsets.append(kept[text.offsets] + begin)
        begin += int(kept[-1])
    return StateTable(
        keys=table.keys, offsets=offsets, states=states, copies=len(copies), max_length=table.max_length
    )

"""The text of a row as the models read it: tokens, or with frozen lower layers the outputs of these.

=====================  ====================  ==========================================================
``num_frozen_layers``  text of rows          masked text for pretraining (causal PLM)
=====================  ====================  ==========================================================
0                      ``TokenTable``        ``MaskedText`` or ``MaskedValues`` (``MaskedText``)
more                   ``StateTable``        ``MaskedStates`` (``NextStates``)
=====================  ====================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.plm.cached_states import cached_hidden_states, states_file, write_states
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.weight_files import lacks_weights
from recbole_clickprompt.plm.weights import find_plm, weights_hash
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.entity_texts import EntityTexts, TextsOfKeys, entity_texts, state_offsets
from recbole_clickprompt.text.masking import FieldMasker, MaskedText, MaskedValues, NextTokens, TokenMasker
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.states import MaskedStates, NextStates, StateTable
from recbole_clickprompt.text.tokens import TokenTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["build_masked_text", "build_text_table", "save_text_states"]

_TEXTS_PER_BATCH = 8192
# Masks of texts whose states are cached have a fixed seed, so that runs with different seeds share the file
_SEED = 0


def build_text_table(config: Settings, dataset: TextSource, plm: PromptedEncoder) -> TokenTable | StateTable:
    """The unmasked text of the rows: a module that maps a batch to the encoder's ``text`` and ``lengths``.

    Args:
        config: Settings of the run: ``plm`` and, with frozen layers, those of ``cached_hidden_states``.
        dataset: Data set whose rows are read.
        plm: Encoder that will read them.

    Raises:
        WeightsError: A file of cached tokens or states is damaged.
        StorageError: It cannot be written.
    """
    table: TokenTable = dataset.token_table(config["plm"])
    if not plm.num_frozen_layers:
        return table
    texts = entity_texts(table)
    return _state_table(config, table, texts, [[text.tokens for text in texts]], plm)


def save_text_states(
    config: Settings, tokens: TextsOfKeys, plm: PromptedEncoder, table: StateTable, folder: Path
) -> None:
    """Writes the states of unmasked text into another folder, where ``build_text_table`` finds them.

    Args:
        config: As for ``build_text_table``.
        tokens: Of the rows.
        plm: As there.
        table: Its result.
        folder: An existing folder.

    Raises:
        StorageError: The file cannot be written.
    """
    pairs = [(text, text.tokens) for text in entity_texts(tokens)]
    write_states(_file(config, pairs, plm, folder), table.states)


def build_masked_text(config: Settings, dataset: TextSource, plm: PromptedEncoder) -> nn.Module:
    """The masked text of the rows: a module that maps a batch to ``MaskedTokens`` and lengths, ``(B,)``.

    Args:
        config: Settings of the run, ``mask_target`` and ``mask_ratio`` among them.
        dataset: Data set whose rows are read.
        plm: Encoder that will read them.

    Raises:
        SettingError: ``mask_target`` selects what to mask, but the PLM is causal and nothing is masked.
        WeightsError: A file of cached tokens or states is damaged.
        StorageError: It cannot be written.
    """
    table: TokenTable = dataset.token_table(config["plm"])
    target = config["mask_target"]
    if plm.causal:
        if target != "tokens":
            raise SettingError(f"mask_target: {target} selects what to mask, but this PLM is causal; use tokens")
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


def _masker(config: Settings, tokenizer: PreTrainedTokenizerBase) -> TokenMasker:
    """``FieldMasker`` for ``mask_target: fields``, otherwise ``TokenMasker``."""
    kind = FieldMasker if config["mask_target"] == "fields" else TokenMasker
    return kind(
        mask_ratio=config["mask_ratio"],
        mask_id=tokenizer.mask_token_id,
        special_ids=tokenizer.all_special_ids,
        vocab_size=len(tokenizer),
    )


def _unmasked(config: Settings, table: TokenTable, plm: PromptedEncoder) -> tuple[StateTable, Tensor]:
    """States of intact texts, and the token of each state, ``(row tokens,)``."""
    texts = entity_texts(table)
    states = _state_table(config, table, texts, [[text.tokens for text in texts]], plm)
    return states, torch.cat([text.tokens[text.in_row_mask()] for text in texts])


def _masked(text: EntityTexts, masker: TokenMasker, *, by_field: bool) -> tuple[Tensor, Tensor]:
    """Masks each text of a key once.

    Returns:
        The tokens to read, and the original tokens where they were sampled, elsewhere -100; both ``(tokens,)``.
    """
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
    config: Settings, table: TokenTable, texts: list[EntityTexts], copies: list[list[Tensor]], plm: PromptedEncoder
) -> StateTable:
    """A table of the states of texts.

    Args:
        config: Settings of the run.
        table: Tokens of the rows, for keys and the maximum length.
        texts: Texts of each key.
        copies: For each copy and key, the tokens to read, ``(tokens,)``.
        plm: Its frozen layers compute the states.
    """
    pairs = [pair for copy in copies for pair in zip(texts, copy, strict=True)]
    plm.to(config["device"])
    states = cached_hidden_states(
        plm,
        pairs,
        file=_file(config, pairs, plm),
        enable_amp=config["enable_amp"],
        show_progress=config["show_progress"],
    )
    return StateTable(
        keys=table.keys,
        offsets=state_offsets(texts),
        states=states,
        copies=len(copies),
        max_length=table.max_length,
    )


def _file(
    config: Settings,
    texts: Sequence[tuple[EntityTexts, Tensor]],
    plm: PromptedEncoder,
    folder: Path | None = None,
) -> Path:
    """The file of the states of texts, in ``checkpoint_dir`` unless another folder is given.

    Raises:
        WeightsError: It is missing, and the PLM's folder lacks the weights to compute them.
    """
    source = find_plm(config["plm"], seed=config["seed"])
    file = states_file(
        plm,
        texts,
        folder=Path(folder or config["checkpoint_dir"]),
        weights=weights_hash(source),
        enable_amp=config["enable_amp"],
    )
    if lacks_weights(source) and not file.is_file():
        raise WeightsError(
            f"{file} is missing, which holds the states of texts; download or publish the model again"
        )
    return file

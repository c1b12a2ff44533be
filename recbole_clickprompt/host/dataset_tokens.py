"""The tokens of a data set's rows for a PLM."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.token_cache import load_or_tokenize
from recbole_clickprompt.plm.row_tokenizer import longest_row
from recbole_clickprompt.text.tokens import TokenTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["build_token_table"]

_CHECKED_ROWS = 32


def build_token_table(dataset: TextDataset, tokenizer: PreTrainedTokenizerBase, folder: Path) -> TokenTable:
    """Builds a token table, checks it on the first rows, and warns about truncated texts.

    Args:
        dataset: A part of the data set after the split.
        tokenizer: Tokenizer of the PLM.
        folder: Folder of the PLM.

    Raises:
        SettingError: ``max_text_length`` exceeds the PLM's maximum.
        DataError: The tokenizer does not tokenize the fields of a row independently.
        WeightsError: The cache file of the tokens is damaged.
    """
    longest = longest_row(folder)
    max_length = dataset.config["max_text_length"] or longest
    if max_length > longest:
        raise SettingError(f"max_text_length is {max_length}, but {folder} supports at most {longest} tokens")
    textualizer = dataset.textualizer()
    table = TokenTable(
        textualizer=textualizer,
        tokenizer=tokenizer,
        max_length=max_length,
        segments=load_or_tokenize(textualizer, tokenizer, Path(dataset.config["checkpoint_dir"])),
    )
    table.check(dataset.inter_feat[: min(_CHECKED_ROWS, len(dataset))], tokenizer)
    truncated = int((table.full_lengths(dataset.inter_feat) > max_length).sum())
    if truncated:
        getLogger().warning(
            f"the text of {truncated} of {len(dataset)} rows has more than {max_length} tokens and is truncated"
        )
    return table

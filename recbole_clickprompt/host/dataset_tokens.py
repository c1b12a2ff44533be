"""The tokens of a data set's rows for a PLM."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.token_cache import load_or_tokenize
from recbole_clickprompt.plm.loading import longest_text
from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["build_token_table"]

_CHECKED_ROWS = 32


def build_token_table(dataset: Any, tokenizer: Any, folder: Path) -> TokenTable:
    """A token table, checked on the first rows; warns once about texts that are cut.

    Args:
        dataset: A ``TextDataset``, its rows split.
        tokenizer: Of the PLM.
        folder: Of the PLM.

    Raises:
        SettingError: ``max_text_length`` is more than the PLM takes.
        DataError: The tokenizer does not tokenize the fields of a row one by one.
        WeightsError: The file of their tokens is damaged.
    """
    longest = longest_text(folder)
    wanted = dataset.config["max_text_length"] or longest
    if wanted > longest:
        raise SettingError(f"max_text_length is {wanted}, but {folder} takes at most {longest} tokens")
    textualizer = dataset.textualizer()
    table = TokenTable(
        textualizer=textualizer,
        tokenizer=tokenizer,
        max_length=wanted,
        segments=load_or_tokenize(textualizer, tokenizer, Path(dataset.config["checkpoint_dir"])),
    )
    table.check(dataset.inter_feat[: min(_CHECKED_ROWS, len(dataset))], tokenizer)
    cut = int((table.full_lengths(dataset.inter_feat) > wanted).sum())
    if cut:
        getLogger().warning(
            f"the text of {cut} of {len(dataset)} rows has more than {wanted} tokens; its end is cut"
        )
    return table

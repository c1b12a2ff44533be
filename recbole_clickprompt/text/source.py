"""What models with text need from a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from recbole_clickprompt.text.text import Textualizer
from recbole_clickprompt.text.tokens import TokenTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TextSource"]


class TextSource(Protocol):
    """A data set of RecBole's whose rows have a text: ``host.dataset.TextDataset``.

    Attributes:
        uid_field: Field of the user's id.
        iid_field: Field of the item's id.
    """

    uid_field: str
    iid_field: str

    def num(self, field: str) -> int:
        """Number of ids of a field, id 0 (padding and unknown values) included."""

    def textualizer(self) -> Textualizer:
        """The text of the rows, as ``text_fields`` and ``value_labels`` describe it."""

    def tokenizer(self, plm: str) -> PreTrainedTokenizerBase:
        """The tokenizer of a PLM, named as in the setting ``plm``."""

    def token_table(self, plm: str) -> TokenTable:
        """The tokens of the rows for a PLM, built once."""

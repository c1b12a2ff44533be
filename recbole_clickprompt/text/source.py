"""What models with text need from a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.text import Textualizer
from recbole_clickprompt.text.tokens import TokenTable
from recbole_clickprompt.text.user_profiles import UserProfiles

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction
    from recbole.utils import FeatureSource, FeatureType
    from transformers import PreTrainedTokenizerBase

__all__ = ["TextSource"]


class TextSource(Protocol):
    """A RecBole data set whose rows have a text, such as ``host.dataset.TextDataset``.

    Attributes:
        config: Settings of the run.
        uid_field: Field of the user's id.
        iid_field: Field of the item's id.
        field2source: RecBole's source of each field, such as user or item.
        field2type: RecBole's type of each field, such as token or float.
        user_profiles: What its rows may know about their users; None without ``user_knowledge``.
    """

    config: Settings
    uid_field: str
    iid_field: str
    field2source: Mapping[str, FeatureSource]
    field2type: Mapping[str, FeatureType]
    user_profiles: UserProfiles | None

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, index: Tensor) -> Interaction:
        """The rows with these numbers, ``(B,)``, with the features of their users and items."""

    def num(self, field: str) -> int:
        """Number of ids of a field, id 0 (padding and unknown values) included."""

    def id2token(self, field: str, ids: int) -> str | np.ndarray:
        """The token in the files that an id of a field stands for."""

    def textualizer(self) -> Textualizer:
        """The text of the rows, as ``text_fields`` and ``value_labels`` describe it."""

    def tokenizer(self, plm: str) -> PreTrainedTokenizerBase:
        """The tokenizer of a PLM, named as in the setting ``plm``."""

    def token_table(self, plm: str) -> TokenTable:
        """The tokens of the rows for a PLM, built once."""

"""The parts of a preprocessing: fields, text and click history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_clickprompt.preprocessing.scaling import Scale

__all__ = ["Descriptions", "Field", "History", "Segment", "Text"]

_LARGEST = float(np.finfo(np.float32).max)
_MARGIN = 10.0


@dataclass(frozen=True)
class Field:
    """A column of the training data.

    Attributes:
        name: Its name in the atomic files.
        type: ``token``, ``token_seq``, ``float`` or ``float_seq``.
        source: RecBole's source: ``user_id``, ``item_id``, ``user``, ``item``, ``inter``; ``net`` for columns that
            only the text uses.
        size: Number of ids of a token field, or of bins of a number field.
        width: Maximum length of a sequence; 1 for other types.
        feature: Whether the backbone may read it.
        unsplit: Whether it is text read as one token, with runs of white space replaced by one blank.
        scale: How RecBole scales its numbers; None for tokens.
        range: Minimum and maximum of its scaled numbers; None for tokens or if unknown.
        list_separator: Separates the values of a sequence in the table that the data set was made of; None if only
            the separator of the atomic files does.
    """

    name: str
    type: str
    source: str
    size: int
    width: int
    feature: bool
    unsplit: bool
    scale: Scale | None
    range: tuple[float, float] | None = None
    list_separator: str | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Limits to which scaled numbers are clipped: the training range, extended by ten times its width.

        Without clipping, products of features far beyond the training range can overflow, and scores become NaN.
        """
        if self.range is None:
            return -_LARGEST, _LARGEST
        low, high = self.range
        margin = _MARGIN * ((high - low) or 1.0)
        return max(low - margin, -_LARGEST), min(high + margin, _LARGEST)


@dataclass(frozen=True)
class Segment:
    """Neighboring fields of a row's text that depend on the same id, with the tokens of each id.

    Attributes:
        key: Column whose id selects the tokens.
        fields: Names of the fields, in the order of the text.
        values: Concatenated tokens of all ids, ``(N,)``.
        offsets: Start of the tokens of each id, ``(ids + 1,)``.
    """

    key: str
    fields: list[str]
    values: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Text:
    """How the text of a row is built and tokenized.

    Attributes:
        names: Name in words of each field, in the order of the text.
        words: By field, the words that replace its codes.
        segments: Tokens, in the order of the text.
        prefix: Special tokens before a text.
        suffix: Special tokens after a text.
        pad_id: Padding token.
        max_length: Maximum number of tokens of a row, including special tokens.
        blank_matters: Whether the tokenizer distinguishes a word from the same word after a blank.
        tokenizer: Content of a ``tokenizer.json``.
    """

    names: dict[str, str]
    words: dict[str, dict[str, str]]
    segments: list[Segment]
    prefix: list[int]
    suffix: list[int]
    pad_id: int
    max_length: int
    blank_matters: bool
    tokenizer: str


@dataclass(frozen=True)
class Descriptions:
    """How the texts of users and items are written, for a model that encodes them one by one.

    Attributes:
        names: By level (user or item), the fields of the text in its order, each with its name in words.
        words: By field, the words that replace its codes.
    """

    names: dict[str, dict[str, str]]
    words: dict[str, dict[str, str]]

    @property
    def columns(self) -> dict[str, str]:
        """By level, the column of raw rows that replaces the text made of the fields."""
        return {level: f"{level}_text" for level in self.names}


@dataclass(frozen=True)
class History:
    """The columns of a row's click history.

    Attributes:
        items: Column of item ids, oldest first.
        lengths: Column of the number of clicks; computed from ``items``.
        labels: Column of the clicks' labels; None if all clicks have the label 1.
        length: Maximum number of clicks T; the latest ones are used.
    """

    items: str
    lengths: str
    labels: str | None
    length: int

    @property
    def raw(self) -> list[str]:
        """The columns that raw rows have."""
        return [self.items] if self.labels is None else [self.items, self.labels]

    @property
    def encoded(self) -> list[str]:
        """The columns that a model reads."""
        return [self.items, self.lengths] if self.labels is None else [self.items, self.lengths, self.labels]

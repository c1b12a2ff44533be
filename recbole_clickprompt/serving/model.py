"""A trained model that scores raw rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from logging import getLogger

import numpy as np
import pandas as pd
import pyarrow as pa

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving.columns import check_columns, to_table, with_field_names
from recbole_clickprompt.serving.rows import Counts, RowEncoder
from recbole_clickprompt.serving.vector_cache import VectorCache

__all__ = ["ServedModel"]

Columns = Mapping[str, np.ndarray]
# Rows that are encoded and scored at once
_BATCH = 4096


class ServedModel:
    """A model that scores raw rows.

    Args:
        preprocessing: How raw rows become the model's inputs.
        scores: Maps encoded columns to scores, ``(B,)``.
        separate_texts: As for ``RowEncoder``.
        cache: The vectors of a model that encodes texts one by one.
        answered_levels: As for ``RowEncoder``.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        scores: Callable[[Columns], np.ndarray],
        *,
        separate_texts: bool = False,
        cache: VectorCache | None = None,
        answered_levels: Collection[str] = (),
    ) -> None:
        self.preprocessing, self.cache, self._scores = preprocessing, cache, scores
        self._encode = RowEncoder(
            preprocessing,
            separate_texts=separate_texts,
            encodes_texts=cache is not None,
            answered_levels=answered_levels,
        )

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """The probability of a click for each row; values that were not used unchanged are reported by a warning.

        Args:
            rows: A pandas, polars or Arrow table. Columns are named as the fields of the atomic files, or as in
                the table that `recbole-cp from-table` made them of, with values as there: user, item and the
                fields of the row itself. Features of users and items are only read for those that training never
                saw; label and time are not read.

        Returns:
            ``(rows,)`` float64.

        Raises:
            DataError: A column is missing, unknown or has the wrong type, or there are no rows.
        """
        table = to_table(rows)
        fields = check_columns(self.preprocessing, table.column_names, source="the table")
        if not len(table):
            raise DataError("the table has no rows")
        counts = Counts()
        scores = self.score(with_field_names(table, fields), counts)
        for remark in counts.remarks():
            getLogger().warning(remark)
        return scores

    def score(
        self, table: pa.Table, counts: Counts, advance: Callable[[int], None] = lambda rows: None
    ) -> np.ndarray:
        """As ``predict``, for columns that have been checked.

        Args:
            table: Raw rows.
            counts: Updated with these rows.
            advance: Called with the number of rows of each batch that has been scored.

        Raises:
            DataError: A value has the wrong type, or a score is not finite.
        """
        parts = []
        for start in range(0, len(table), _BATCH):
            first = counts.rows + 1
            scores = self._scores(self._encode(table.slice(start, _BATCH), counts))
            if len(bad := np.flatnonzero(~np.isfinite(scores))):
                raise DataError(
                    f"the score of row {first + bad[0]:,} is not a finite number; its features are too large "
                    "for the model, or the model was not trained successfully"
                )
            parts.append(scores)
            advance(len(scores))
        return np.concatenate(parts).astype(np.float64)

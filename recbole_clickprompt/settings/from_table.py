"""Settings that ``recbole-cp from-table`` writes into the property file of a data set."""

from __future__ import annotations

from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.types import COLUMN_NAMES, SEPARATORS, integer, optional

__all__ = ["FROM_TABLE"]

FROM_TABLE = {
    "column_names": Setting(
        COLUMN_NAMES,
        {},
        "Columns of the table that from-table made the data set of, each with its field, or None where it is not "
        "read; predict accepts tables with these columns.",
        "none",
    ),
    "list_separators": Setting(
        SEPARATORS,
        {},
        "What separates the values of a list in that table, for each field that is one; predict accepts it.",
        "none",
    ),
    "sampled_negatives": Setting(
        optional(integer(1)),
        None,
        "Negatives that from-table sampled for each click; metrics on them are no metrics on shown items. None: "
        "the data have negatives.",
        "none",
    ),
}

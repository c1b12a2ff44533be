"""Names of the columns that hold a row's click history."""

from __future__ import annotations

from typing import NamedTuple

from recbole_clickprompt.settings.values import Settings

__all__ = ["HistoryFields"]


class HistoryFields(NamedTuple):
    """As RecBole's sequential models name them.

    Attributes:
        items: Item ids, such as ``item_id_list``.
        length: How many there are.
        labels: Their labels, such as ``label_list``; with ``history: all``.
    """

    items: str
    length: str
    labels: str

    @classmethod
    def from_config(cls, config: Settings) -> HistoryFields:
        """Those of a run."""
        return cls(f"{config['ITEM_ID_FIELD']}_list", "item_length", f"{config['LABEL_FIELD']}_list")

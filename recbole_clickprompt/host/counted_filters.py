"""RecBole's filters of rows, which count and report what they drop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recbole.data.dataset import Dataset

from recbole_clickprompt.host.check_data import check_rows, warn_dropped_rows

__all__ = ["CountedFilters"]


class CountedFilters(Dataset):
    """A data set that knows how many rows were dropped, and why.

    Attributes:
        dropped: Number of dropped rows by the setting that dropped them.
    """

    def _get_preset(self) -> None:
        super()._get_preset()
        self.dropped: dict[str, int] = {}

    def count_dropped(self, setting: str, rows: int) -> None:
        """Adds rows that a setting dropped."""
        if rows:
            self.dropped[setting] = self.dropped.get(setting, 0) + rows

    @contextmanager
    def _counted(self, setting: str) -> Iterator[None]:
        before = len(self.inter_feat)
        yield
        self.count_dropped(setting, before - len(self.inter_feat))

    def _data_filtering(self) -> None:
        check_rows(self, "has no rows")
        super()._data_filtering()

    def _remove_duplication(self) -> None:
        with self._counted("rm_dup_inter"):
            super()._remove_duplication()

    def _filter_by_field_value(self) -> None:
        with self._counted("val_interval"):
            super()._filter_by_field_value()

    def _filter_inter_by_user_or_item(self) -> None:
        before = self.inter_feat[[self.uid_field, self.iid_field]]
        with self._counted("filter_inter_by_user_or_item"):
            super()._filter_inter_by_user_or_item()
        warn_dropped_rows(self, before)

    def _filter_by_inter_num(self) -> None:
        with self._counted("user_inter_num_interval and item_inter_num_interval"):
            super()._filter_by_inter_num()
        check_rows(
            self, "has no rows left after val_interval, user_inter_num_interval and item_inter_num_interval"
        )

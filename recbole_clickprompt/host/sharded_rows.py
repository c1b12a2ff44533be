"""A data set of which each of several processes holds the rows of its users.

::

    file     | lines of process 0 | lines of process 1 |      each process reads and checks its lines,
                     |       x       |                        all agree on ids, and exchange rows by user
    memory   | users 2 4 6 ...    | users 1 3 5 ...    |      each process has all rows of its users,
                                                              in the order of the file

What depends on all rows (ids, means and ranges of numbers, the places where the split cuts) is found from counts,
sums and vocabularies, so no process holds all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_clickprompt import distributed
from recbole_clickprompt.distributed import ProcessGroup
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.counted_filters import CountedFilters
from recbole_clickprompt.host.ids import remap_ids, remap_ids_of_shares
from recbole_clickprompt.host.row_exchange import exchange_rows
from recbole_clickprompt.host.row_order import among_first, time_keys

__all__ = ["ShardedRows"]

_ORDER = "order:row"  # a hidden column; no field's name can hold a colon


class ShardedRows(CountedFilters):
    """With ``row_sharding: user`` and several processes, a data set with the rows of some users; else with all.

    Attributes:
        places: Of each row, its place among the rows of all processes in the order of the files, ``(rows,)``.
        order: Of a split part, what orders its rows among those of all processes, ``(rows, keys)``: by the first
            key, then by the next one, and so on. None where one process has all rows.
    """

    order: torch.Tensor | None = None
    # RecBole's, which declares no types
    inter_feat: Any
    feat_name_list: list[str]
    file_size_list: list[int]

    @property
    def row_group(self) -> ProcessGroup:
        """The processes that hold the rows together; this one alone unless rows are shared."""
        return distributed.current() if self.config["row_sharding"] == "user" else ProcessGroup()

    @property
    def shares_rows(self) -> bool:
        """Whether this process has some of the rows."""
        return self.row_group.world > 1

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        lengths = self.row_group.all_gather({field: self.field2seqlen[field] for field in self.inter_feat})
        self.field2seqlen |= {field: max(of[field] for of in lengths) for field in self.inter_feat}

    def _reset_index(self) -> None:
        if not self.shares_rows:
            super()._reset_index()
            return
        names = self.feat_name_list  # a process may have read no row
        self.feat_name_list = [name for name in names if name != "inter_feat"]
        super()._reset_index()
        self.feat_name_list = names
        self.inter_feat.reset_index(drop=True, inplace=True)

    def _rows_by_file(self) -> list[int]:
        """How many rows of each interaction file this process has."""
        return [len(self.inter_feat)] if self.benchmark_filename_list is None else self.file_size_list

    def _remap(self, remap_list: list[tuple[pd.DataFrame, str, FeatureType]]) -> None:
        if remap_list and self.shares_rows:
            remap_ids_of_shares(self, remap_list, self.row_group, self._rows_by_file())
        elif remap_list:
            remap_ids(self, remap_list)

    def _remap_ID_all(self) -> None:
        super()._remap_ID_all()
        if self.shares_rows:
            self._exchange_rows()

    def _exchange_rows(self) -> None:
        group = self.row_group
        counts = np.array(group.all_gather(self._rows_by_file()))  # (world, files)
        # All rows of the files before, and those of this file in the processes before
        starts = np.cumsum([0, *counts.sum(0)])[:-1] + counts[: group.rank].sum(0)
        rows = self.inter_feat
        rows[_ORDER] = np.concatenate(
            [np.arange(count) + start for start, count in zip(starts, counts[group.rank], strict=True)]
        )
        users = rows[self.uid_field].to_numpy()
        self._check_users(int(counts.sum()), max(group.all_gather(int(users.max(initial=0)))))
        kinds = {FeatureType.TOKEN_SEQ: "int64", FeatureType.FLOAT_SEQ: "float64"}
        lists = {name: kinds[kind] for name, kind in self.field2type.items() if kind in kinds}
        rows = exchange_rows(rows, users % group.world, group, lists=lists)
        rows = rows.sort_values(_ORDER, ignore_index=True)
        self.places = rows.pop(_ORDER).to_numpy()
        self.inter_feat = rows
        if self.benchmark_filename_list is not None:
            file = np.searchsorted(np.cumsum(counts.sum(0)), self.places, side="right")
            self.file_size_list = np.bincount(file, minlength=len(self.file_size_list)).tolist()

    def _check_users(self, rows: int, users: int) -> None:
        # Ids of users are numbered from 1 in the order of the rows, so each process has one of the first
        if users < self.row_group.world:
            raise SettingError(
                f"row_sharding: user divides users among processes, but the {rows} rows of {self.dataset_name} "
                f"have {users} users for {self.row_group.world} processes; start at most {users}, or leave "
                "row_sharding out"
            )

    def _change_feat_format(self) -> None:
        if not self.shares_rows:
            super()._change_feat_format()
            return
        index = self.inter_feat.index.to_numpy()
        keys = [self.places[index]]
        if self.config["eval_args"]["order"] == "TO" and self.benchmark_filename_list is None:
            keys.insert(0, time_keys(self.inter_feat[self.time_field]))
        super()._change_feat_format()
        self.inter_feat[_ORDER] = torch.from_numpy(np.stack(keys, axis=1))

    def shuffle(self) -> None:
        """RecBole's random order of all rows, of which this process takes its own."""
        if not self.shares_rows:
            super().shuffle()
            return
        order = torch.randperm(sum(self.row_group.all_gather(len(self)))).numpy()
        own = np.zeros(len(order), dtype=bool)
        own[self.places] = True
        places = np.flatnonzero(own[order])  # in the random order
        self.inter_feat._reindex(torch.from_numpy(np.searchsorted(self.places, order[places])))
        self.inter_feat[_ORDER] = torch.from_numpy(places[:, None])

    def split_by_ratio(self, ratios: Sequence[float], group_by: str | None = None) -> list[Dataset]:
        """RecBole's; without groups it cuts the rows of all processes at the same places as those of one."""
        if not self.shares_rows:
            return super().split_by_ratio(ratios, group_by)
        if group_by is not None:
            self._order_by_user()
            return super().split_by_ratio(ratios, group_by)
        group, keys = self.row_group, self.inter_feat[_ORDER].numpy()
        rows = sum(group.all_gather(len(self)))
        ends = self._calcu_split_ids(tot=rows, ratios=[ratio / sum(ratios) for ratio in ratios])
        ends = [0, *(among_first(keys, int(end), group) for end in ends), len(self)]
        self._drop_unused_col()
        return [self.copy(self.inter_feat[begin:end]) for begin, end in pairwise(ends)]

    def leave_one_out(self, group_by: str, leave_one_mode: str) -> list[Dataset]:
        """RecBole's; all rows of a user are in one process."""
        if self.shares_rows:
            self._order_by_user()
        return super().leave_one_out(group_by, leave_one_mode)

    def _order_by_user(self) -> None:
        # RecBole's parts have users in the order of their first rows, and the rows of each in their order
        keys = self.inter_feat[_ORDER]
        _, first, of_row = np.unique(
            self.inter_feat[self.uid_field].numpy(), return_index=True, return_inverse=True
        )
        self.inter_feat[_ORDER] = torch.cat([keys[torch.from_numpy(first[of_row])], keys], dim=1)

    def _finish_parts(self, parts: Sequence[ShardedRows]) -> None:
        """Takes the hidden column out of split parts."""
        for part in parts:
            part.order = part.inter_feat.interaction.pop(_ORDER, None)
        rows = self.row_group.all_gather(len(parts[0]))
        if min(rows) == 0:
            raise SettingError(
                f"row_sharding: user gives none of the {sum(rows)} training rows to {rows.count(0)} of "
                f"{len(rows)} processes; start fewer, or leave row_sharding out"
            )

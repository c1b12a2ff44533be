"""RecBole's data set without loss of precision: whole titles, exact times, unscaled numbers for the text."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.check_data import (
    check_classes,
    check_fields,
    check_labels,
    check_numbers,
    check_times,
    warn_unscaled,
)
from recbole_clickprompt.host.check_row_sharding import check_sharded_fields
from recbole_clickprompt.host.cold_start import cold_start_parts
from recbole_clickprompt.host.data_report import log_data_report
from recbole_clickprompt.host.dataset_files import obtain, resolve_split_files
from recbole_clickprompt.host.dataset_text import (
    add_text_columns,
    build_textualizer,
    hide_text_columns,
    raw_numbers,
)
from recbole_clickprompt.host.dataset_tokens import build_token_table
from recbole_clickprompt.host.fields import FieldOrigin
from recbole_clickprompt.host.history import HistoryLog, add_histories, check_history
from recbole_clickprompt.host.kept_scales import bin_with, fill_with, kept_scales, normalize_with
from recbole_clickprompt.host.missing_numbers import missing_numbers
from recbole_clickprompt.host.saved_config import is_from_checkpoint
from recbole_clickprompt.host.sharded_rows import ShardedRows
from recbole_clickprompt.host.shared_messages import shared_messages
from recbole_clickprompt.host.split_rows import ROW, TIME, SplitRows
from recbole_clickprompt.host.user_profiles import add_profiles, check_profiles
from recbole_clickprompt.host.warm_start import begin_warm_start
from recbole_clickprompt.plm.row_tokenizer import row_tokenizer
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.preprocessing.scaling import Scale, observe_means, signed_log, with_bins, with_ranges
from recbole_clickprompt.text.text import Textualizer
from recbole_clickprompt.text.tokens import TokenTable
from recbole_clickprompt.text.user_profiles import UserProfiles

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TextDataset"]

# A temporary column; names of fields cannot contain a colon
_PART = "part:row"  # number of the part of a row, while rows are filtered
_MISSING = "missing:"  # begins the name of a column that is True where a number is missing


class TextDataset(ShardedRows):
    """RecBole's data set, extended by the text of rows.

    Differences from ``recbole.data.dataset.Dataset``:

    - ``whole_text_fields`` are read as one token; RecBole splits ``token_seq`` at blanks.
    - ``order: TO`` sorts by the exact time. RecBole rounds times to float32 first, whose resolution is 128 seconds
      at current Unix times, so rows can end up in the wrong part of the split.
    - Files are read by ``read_atomic``, which does not lose values.
    - ``benchmark_filename`` names files written by ``recbole-cp prepare``; if they are missing, the rows are split
      as ``eval_args`` says. Filters apply to these files too; RecBole silently ignores filters for them.
    - ``cold_start`` splits by users or items, so that those of validation and test rows are new.
    - With ``warm_start``, numbers are scaled as in the earlier run.
    - ``text_only_fields`` are read like ``whole_text_fields``, and are no features of models.
    - ``rename_fields`` renames fields of the files.
    - With ``row_sharding: user``, each of several processes has the rows of its users.
    - Rows are indexed by tensors; RecBole converts the index to a Python list for each column.
    - ``textualizer()`` returns the text of the rows.
    - ``times`` of a split part are exact; RecBole rounds, scales or drops them.

    Attributes:
        times: Times of the rows of a split part as in the file, ``(rows,)`` float64, NaN if missing; None without
            a time field.
        origins: The file, source and type of each loaded field.
        scales: How each number field was scaled.
        missing_rows: Of a split part, for number fields of ``.inter``: which rows lack a value, ``(rows,)`` bool.
        missing_ids: For number fields of users and items: which ids lack a value, ``(ids,)`` bool.
    """

    times: torch.Tensor | None = None
    # Of a split part: the clicks that its rows may see; None without histories
    history_log: HistoryLog | None = None
    # Of a split part: what its rows may know about their users; None without ``user_knowledge``
    user_profiles: UserProfiles | None = None
    # By field, ids that an earlier run was trained on, which a warm start continues
    known_ids: Mapping[str, torch.Tensor] = MappingProxyType({})
    file_times: pd.Series | None = None

    def __getitem__(
        self, index: torch.Tensor | np.ndarray | slice | int | list[int], join: bool = True
    ) -> Interaction:
        """Rows by number, joined with the features of their users and items unless ``join`` is False."""
        if not isinstance(index, np.ndarray | torch.Tensor):
            return super().__getitem__(index, join)
        rows = _rows(self.inter_feat, torch.as_tensor(index))
        if join:
            for feat, key in ((self.user_feat, self.uid_field), (self.item_feat, self.iid_field)):
                if feat is not None and key in rows:
                    rows.update(_rows(feat, rows[key]))
            self._join_hidden(rows)
        return rows

    def join(self, df: Interaction) -> Interaction:
        """RecBole's, which adds the columns of users and items; and those of histories and profiles."""
        return self._join_hidden(super().join(df))

    def _join_hidden(self, rows: Interaction) -> Interaction:
        """What the hidden columns of rows stand for: their histories, and the profiles of their users."""
        if self.history_log is not None:
            self.history_log.replace_columns(rows)
        return rows if self.user_profiles is None else self.user_profiles.replace_columns(rows)

    def _data_processing(self) -> None:
        check_fields(self)
        if self.shares_rows:
            check_sharded_fields(self)
        if self.benchmark_filename_list is not None:
            self._filter_parts()
        super()._data_processing()

    def _filter_parts(self) -> None:
        self.feat_name_list = self._build_feat_name_list()
        sizes = self.file_size_list
        self.inter_feat[_PART] = np.repeat(np.arange(len(sizes)), sizes)
        self._data_filtering()
        # rm_dup_inter sorts all rows by time
        self.inter_feat.sort_values(_PART, kind="stable", inplace=True, ignore_index=True)
        part = self.inter_feat.pop(_PART)
        self.file_size_list = np.bincount(part, minlength=len(sizes)).tolist()

    def _get_preset(self) -> None:
        if not is_from_checkpoint(self.config):
            begin_warm_start(self.config)
        self._kept = kept_scales(self.config)
        super()._get_preset()
        self.origins: dict[str, FieldOrigin] = {}

    def _load_data(self, token: str, dataset_path: str) -> None:
        folder = Path(dataset_path)
        distributed.current().main_process_first(lambda: None if folder.exists() else self._download())
        parts: list[str] | None = self.benchmark_filename_list  # type: ignore[has-type]
        self.benchmark_filename_list = resolve_split_files(folder, token, parts)
        super()._load_data(token, dataset_path)

    def _download(self) -> None:
        if is_from_checkpoint(
            self.config
        ):  # a checkpoint must not cause downloads or choose where files are written
            raise DataError(
                f"{self.dataset_path}, the folder of the checkpoint's data set, does not exist; restore its files"
            )
        obtain(self.dataset_name, Path(self.dataset_path), super()._download)

    def _load_feat(self, filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        # Not imported above: polars and pyarrow would make importing the plug-in five times slower
        from recbole_clickprompt.host.feature_file import load_feature_file

        if source is not FeatureSource.INTERACTION or not self.shares_rows:
            return load_feature_file(self, Path(filepath), source)
        group = self.row_group
        with shared_messages(group, Path(filepath)):
            return load_feature_file(self, Path(filepath), source, part=(group.rank, group.world))

    def _load_user_or_item_feat(
        self, token: str, dataset_path: str, source: FeatureSource, field_name: str
    ) -> pd.DataFrame | None:
        path = Path(dataset_path) / f"{token}.{source.value}"
        listed = (self.config["load_col"] or {}).get(source.value)
        if listed and not path.is_file():
            raise DataError(
                f"load_col lists fields of {path}, which does not exist; add the file, or leave them out"
            )
        return super()._load_user_or_item_feat(token, dataset_path, source, field_name)

    def _remap_ID_all(self) -> None:
        add_text_columns(self)
        super()._remap_ID_all()
        hide_text_columns(self)

    def fields(
        self, ftype: Collection[FeatureType] | None = None, source: Collection[FeatureSource] | None = None
    ) -> list[str]:
        """RecBole's; with ``source``, by which models choose their features, without ``text_only_fields``."""
        hidden = () if source is None else self.config["text_only_fields"]
        return [field for field in super().fields(ftype, source) if field not in hidden]

    def _fill_nan(self) -> None:
        check_numbers(self)
        # Before RecBole replaces missing numbers by the mean and scales numbers to [0, 1]
        self._numbers = raw_numbers(self)
        for field in self.config["log_scale_fields"]:
            feat = self.field2feats(field)[0]
            is_number = self.field2type[field] is FeatureType.FLOAT
            feat[field] = signed_log(feat[field]) if is_number else feat[field].map(signed_log)
        self.scales: dict[str, Scale] = observe_means(self)
        self.missing_rows, self.missing_ids = missing_numbers(self)
        if self._kept is not None:
            self.scales |= self._kept
            fill_with(self, self._kept)
        elif self.shares_rows:
            fill_with(self, self.scales)
        if self.time_field in self.inter_feat and self.field2type[self.time_field] is FeatureType.FLOAT:
            self.file_times = self.inter_feat[self.time_field].copy()
        super()._fill_nan()

    def _normalize(self) -> None:
        if self._kept is not None:
            normalize_with(self, self._kept)
            return
        self.scales = with_ranges(self.scales, self)
        if self.shares_rows:
            normalize_with(self, {name: scale for name, scale in self.scales.items() if scale.low is not None})
            return
        label = self.inter_feat[self.label_field].copy() if self.label_field in self.inter_feat else None
        super()._normalize()
        if label is not None:  # normalize_all would turn labels that are all 0 into 1
            self.inter_feat[self.label_field] = label

    def _discretization(self) -> None:
        if self._kept is not None:
            bin_with(self, self._kept)
            return
        warn_unscaled(self)
        self.scales = with_bins(self.scales, self)
        super()._discretization()

    def build(self) -> list[Dataset]:
        """Splits the rows into training, validation and test part.

        Raises:
            DataError: A part, or the whole data set, has no rows or rows of one class only.
            SettingError: ``cold_start`` cannot be combined with the other settings of the split.
        """
        check_classes(self)
        check_history(self)
        check_profiles(self)
        if self.config["eval_args"]["order"] == "TO" and self.benchmark_filename_list is None:
            check_times(self)
            self.inter_feat.sort_values(self.time_field, kind="stable", inplace=True)
        parts = self._cold_start() if self.config["cold_start"] else super().build()
        for name, part in zip(("training", "validation", "test"), parts, strict=False):
            check_labels(part, name)
        self._finish_parts(parts)
        if self._needs_file_order():
            rows = SplitRows(parts)
            if self.config["history_length"] is not None:
                add_histories(self, parts, rows)
            if self._has_profiles():
                add_profiles(self, parts, rows)
        for part in parts:
            part.times = part.inter_feat.interaction.pop(TIME, None)
            part.missing_rows = {
                field: part.inter_feat.interaction.pop(f"{_MISSING}{field}") for field in self.missing_rows
            }
        if not is_from_checkpoint(self.config):
            log_data_report(parts)
        return parts

    def _has_profiles(self) -> bool:
        return self.config["user_knowledge"] not in (None, "none")

    def _needs_file_order(self) -> bool:
        return self.config["history_length"] is not None or self._has_profiles()

    def _cold_start(self) -> list[Dataset]:
        self._change_feat_format()
        rows = cold_start_parts(self)
        self._drop_unused_col()
        return [self.copy(self.inter_feat[part]) for part in rows]

    def _change_feat_format(self) -> None:
        # Called before RecBole shuffles and splits the rows; the index is the position in the file
        rows = self.inter_feat.index
        super()._change_feat_format()
        if self._needs_file_order():
            self.inter_feat[ROW] = torch.from_numpy(rows.to_numpy(dtype=np.int64))
        for field, mask in self.missing_rows.items():
            self.inter_feat[f"{_MISSING}{field}"] = mask[torch.from_numpy(rows.to_numpy(dtype=np.int64))]
        if self.file_times is not None:
            self.inter_feat[TIME] = torch.from_numpy(self.file_times[rows].to_numpy(dtype=np.float64))

    def textualizer(self) -> Textualizer:
        """The text of the rows (ClickPrompt, Eq. 4), built according to ``text_fields`` and ``value_labels``."""
        return build_textualizer(self, self._numbers)

    def tokenizer(self, plm: str) -> PreTrainedTokenizerBase:
        """The tokenizer of a PLM (``minilm``, ``hashed``, a folder or a Hugging Face id), which is loaded once."""
        tokenizers = self.__dict__.setdefault("_tokenizers", {})
        if plm not in tokenizers:
            tokenizers[plm] = row_tokenizer(find_plm(plm, seed=self.config["seed"]))
        return tokenizers[plm]

    def token_table(self, plm: str) -> TokenTable:
        """The tokens of the rows for a PLM, which are computed once and shared by the models of all stages.

        Raises:
            SettingError: ``max_text_length`` exceeds the PLM's maximum.
            DataError: The tokenizer does not tokenize the fields of a row independently.
            WeightsError: The cache file of the tokens is damaged.
        """
        tables = self.__dict__.setdefault("_token_tables", {})
        if plm not in tables:
            tables[plm] = build_token_table(self, self.tokenizer(plm), find_plm(plm, seed=self.config["seed"]))
        return tables[plm]


def _rows(feat: Interaction, index: torch.Tensor) -> Interaction:
    return Interaction({name: column[index] for name, column in feat.interaction.items()})

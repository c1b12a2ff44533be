"""RecBole's data set, kept exact: whole titles, integer time, raw numbers for the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    check_rows,
    check_times,
    warn_dropped_rows,
    warn_unscaled,
)
from recbole_clickprompt.host.cold_start import cold_start_parts
from recbole_clickprompt.host.dataset_files import obtain, resolve_split_files
from recbole_clickprompt.host.dataset_text import (
    add_text_columns,
    build_textualizer,
    hide_text_columns,
    raw_numbers,
)
from recbole_clickprompt.host.dataset_tokens import build_token_table
from recbole_clickprompt.host.fields import FieldOrigin, check_header, check_names, check_parts, quoted
from recbole_clickprompt.host.history import ROW, TIME, HistoryLog, add_histories, check_history
from recbole_clickprompt.host.ids import remap_ids
from recbole_clickprompt.host.saved_config import is_from_checkpoint
from recbole_clickprompt.plm.loading import load_tokenizer
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.preprocessing.scaling import Scale, observe_means, with_bins, with_ranges
from recbole_clickprompt.text.text import Textualizer
from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["TextDataset"]

# Columns of our own; no field's name can hold a colon
_PART = "part:row"  # while rows are filtered


class TextDataset(Dataset):
    """Atomic files as RecBole reads them, plus what the text of a row needs.

    Differences to ``recbole.data.dataset.Dataset``:

    - ``whole_text_fields`` are read whole as one token, where RecBole splits ``token_seq`` at blanks.
    - ``order: TO`` sorts by the time in the file; RecBole sorts after rounding it to float32, which is 64
      seconds at today's Unix times, and so moves rows over the borders of the split.
    - files are read by ``read_atomic``, which keeps the values that RecBole's reader loses.
    - ``benchmark_filename`` names files that ``recbole-cp prepare`` makes; a folder without them is split here.
      Filters hold for these files too, where RecBole passes them over in silence.
    - ``cold_start`` splits by users or items, so that those of validation and test rows are new.
    - ``rename_fields`` gives fields other names than their files do.
    - rows are read by an index that stays a tensor; RecBole makes a Python list of it for every column.
    - ``textualizer()`` gives the text of its rows.
    - ``times`` of a split part are those of the file: RecBole's are rounded, scaled or left out.
    """

    # Of a split part: ``(rows,)`` float64, nan where a row has none; None without a time field
    times: torch.Tensor | None = None
    # Of a split part: the clicks that its rows may see; None without histories
    history_log: HistoryLog | None = None
    file_times: pd.Series | None = None

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """Rows by an array, a tensor or whatever RecBole takes, with the columns of their users and items."""
        if not isinstance(index, np.ndarray | torch.Tensor):
            return super().__getitem__(index, join)
        rows = _rows(self.inter_feat, torch.as_tensor(index))
        if join:
            for feat, key in ((self.user_feat, self.uid_field), (self.item_feat, self.iid_field)):
                if feat is not None and key in rows:
                    rows.update(_rows(feat, rows[key]))
            self._join_history(rows)
        return rows

    def join(self, df: Interaction) -> Interaction:
        """RecBole's, which adds the columns of users and items; and those of the rows' histories."""
        return self._join_history(super().join(df))

    def _join_history(self, rows: Interaction) -> Interaction:
        return rows if self.history_log is None else self.history_log.replace_columns(rows)

    def _data_processing(self) -> None:
        check_fields(self)
        if self.benchmark_filename_list is not None:
            self._filter_parts()
        super()._data_processing()

    def _filter_parts(self) -> None:
        self.feat_name_list = self._build_feat_name_list()
        sizes: list[int] = self.file_size_list  # type: ignore[has-type]
        self.inter_feat[_PART] = np.repeat(np.arange(len(sizes)), sizes)
        self._data_filtering()
        # rm_dup_inter sorts all rows by time
        self.inter_feat.sort_values(_PART, kind="stable", inplace=True, ignore_index=True)
        part = self.inter_feat.pop(_PART)
        self.file_size_list = np.bincount(part, minlength=len(sizes)).tolist()

    def _get_preset(self) -> None:
        super()._get_preset()
        self.origins: dict[str, FieldOrigin] = {}

    def _load_data(self, token: str, dataset_path: str) -> None:
        folder = Path(dataset_path)
        distributed.current().main_process_first(lambda: None if folder.exists() else self._download())
        parts: list[str] | None = self.benchmark_filename_list  # type: ignore[has-type]
        self.benchmark_filename_list = resolve_split_files(folder, token, parts)
        super()._load_data(token, dataset_path)

    def _download(self) -> None:
        if is_from_checkpoint(self.config):  # a file may not have something fetched and written wherever it likes
            raise DataError(
                f"there is no folder {self.dataset_path}, where the checkpoint's data set was; put its files back"
            )
        obtain(self.dataset_name, Path(self.dataset_path), super()._download)

    def _load_feat(self, filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        # Here and not above: polars and pyarrow would make the plug-in's import five times as long
        from recbole_clickprompt.host.atomic_columns import read_features
        from recbole_clickprompt.host.interactions import check_aliases, check_entities, check_interactions

        load_col, unload_col = self._get_load_and_unload_col(source)
        if load_col == set():
            return None
        path, name = Path(filepath), getattr(source, "value", source)
        header: list[str] = []

        def wanted(field: str) -> bool:
            header.append(field)
            return (load_col is None or field in load_col) and field not in (unload_col or ())

        table = read_features(path, name, self.config, wanted=wanted)
        check_header(header, path, name, self.config)
        if lacking := sorted((load_col or set()) - table.types.keys()):
            raise DataError(
                f"load_col lists {quoted(lacking)} for {path.name}, which has no such field; its fields are "
                f"{quoted(header)}"
            )
        check_aliases(table, path, self.config)
        feat = table.frame
        if source is FeatureSource.INTERACTION:
            check_parts(table.types, path, self.origins)
            feat = check_interactions(
                table,
                path,
                self.config,
                by_time=self.benchmark_filename_list is None and self.config["eval_args"]["order"] == "TO",
            )
        elif name in ("user", "item"):
            check_entities(table, path, self.uid_field if name == "user" else self.iid_field)
        if source != "link":
            check_names(table.types, path, name, self.origins, self.config)
        for field, kind in table.types.items() if source != "link" else ():
            self.origins.setdefault(field, FieldOrigin(path, name, kind))
            self.field2source[field] = source
            self.field2type[field] = FeatureType(kind)
            self.field2seqlen[field] = max(map(len, feat[field]), default=0) if kind.endswith("_seq") else 1
            if "float" in kind:
                self.field2bucketnum[field] = 2
        return feat if table.types else None

    def _load_user_or_item_feat(
        self, token: str, dataset_path: str, source: FeatureSource, field_name: str
    ) -> pd.DataFrame | None:
        path, listed = (
            Path(dataset_path) / f"{token}.{source.value}",
            (self.config["load_col"] or {}).get(source.value),
        )
        if listed and not path.is_file():
            raise DataError(f"there is no file {path}, of which load_col lists fields; add it, or leave them out")
        return super()._load_user_or_item_feat(token, dataset_path, source, field_name)

    def _remap(self, remap_list: list[tuple[pd.DataFrame, str, FeatureType]]) -> None:
        if remap_list:
            remap_ids(self, remap_list)

    def _data_filtering(self) -> None:
        check_rows(self, "has no rows")
        super()._data_filtering()

    def _filter_inter_by_user_or_item(self) -> None:
        before = self.inter_feat[[self.uid_field, self.iid_field]]
        super()._filter_inter_by_user_or_item()
        warn_dropped_rows(self, before)

    def _filter_by_inter_num(self) -> None:
        super()._filter_by_inter_num()
        check_rows(
            self, "has no rows left after val_interval, user_inter_num_interval and item_inter_num_interval"
        )

    def _remap_ID_all(self) -> None:
        add_text_columns(self)
        super()._remap_ID_all()
        hide_text_columns(self)

    def _fill_nan(self) -> None:
        check_numbers(self)
        # RecBole is about to put the mean where a number is missing and to scale numbers to [0, 1]
        self._numbers = raw_numbers(self)
        self.scales: dict[str, Scale] = observe_means(self)
        if self.time_field in self.inter_feat and self.field2type[self.time_field] is FeatureType.FLOAT:
            self.file_times = self.inter_feat[self.time_field].copy()
        super()._fill_nan()

    def _normalize(self) -> None:
        self.scales = with_ranges(self.scales, self)
        label = self.inter_feat[self.label_field].copy() if self.label_field in self.inter_feat else None
        super()._normalize()
        if label is not None:  # normalize_all makes 1 of labels that are all 0
            self.inter_feat[self.label_field] = label

    def _discretization(self) -> None:
        warn_unscaled(self)
        self.scales = with_bins(self.scales, self)
        super()._discretization()

    def build(self) -> list[Dataset]:
        """Splits into training, validation and test part.

        Raises:
            DataError: A part, or the whole, has no rows or rows of one class only.
            SettingError: ``cold_start`` does not go with the rest of the split.
        """
        check_classes(self)
        check_history(self)
        if self.config["eval_args"]["order"] == "TO" and self.benchmark_filename_list is None:
            check_times(self)
            self.inter_feat.sort_values(self.time_field, kind="stable", inplace=True)
        parts = self._cold_start() if self.config["cold_start"] else super().build()
        for name, part in zip(("training", "validation", "test"), parts, strict=False):
            check_labels(part, name)
        if self.config["history_length"] is not None:
            add_histories(self, parts)
        for part in parts:
            part.times = part.inter_feat.interaction.pop(TIME, None)
        return parts

    def _cold_start(self) -> list[Dataset]:
        self._change_feat_format()
        rows = cold_start_parts(self)
        self._drop_unused_col()
        return [self.copy(self.inter_feat[of_part]) for of_part in rows]

    def _change_feat_format(self) -> None:
        # Before RecBole shuffles and splits the rows; the index says where they stood in the file
        rows = self.inter_feat.index
        super()._change_feat_format()
        if self.config["history_length"] is not None:
            self.inter_feat[ROW] = torch.from_numpy(rows.to_numpy(dtype=np.int64))
        if self.file_times is not None:
            self.inter_feat[TIME] = torch.from_numpy(self.file_times[rows].to_numpy(dtype=np.float64))

    def textualizer(self) -> Textualizer:
        """The text of this data set's rows (Eq. 4), as ``text_fields`` and ``value_labels`` say."""
        return build_textualizer(self, self._numbers)

    def tokenizer(self, plm: str) -> Any:
        """The tokenizer of a PLM (``minilm``, a folder or a Hugging Face id), loaded once."""
        tokenizers = self.__dict__.setdefault("_tokenizers", {})
        if plm not in tokenizers:
            tokenizers[plm] = load_tokenizer(find_plm(plm))
        return tokenizers[plm]

    def token_table(self, plm: str) -> TokenTable:
        """The tokens of this data set's rows for a PLM, built once and shared by the models of both stages.

        Raises:
            SettingError: ``max_text_length`` is more than the PLM takes.
            DataError: The tokenizer does not tokenize the fields of a row one by one.
            WeightsError: The file that many texts' tokens are kept in is damaged.
        """
        tables = self.__dict__.setdefault("_token_tables", {})
        if plm not in tables:
            tables[plm] = build_token_table(self, self.tokenizer(plm), find_plm(plm))
        return tables[plm]


def _rows(feat: Interaction, index: torch.Tensor) -> Interaction:
    return Interaction({name: column[index] for name, column in feat.interaction.items()})

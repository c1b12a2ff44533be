"""RecBole's data set, kept exact: whole titles, integer time, raw numbers for the text."""

from __future__ import annotations

from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_clickprompt import ranks
from recbole_clickprompt.data.text import Textualizer
from recbole_clickprompt.data.tokens import TokenTable
from recbole_clickprompt.errors import DataError, SettingError, nearest
from recbole_clickprompt.host.obtain import obtain
from recbole_clickprompt.host.row_text import build_textualizer, value_text
from recbole_clickprompt.host.scaling import Scale, observe_bins, observe_means, observe_ranges
from recbole_clickprompt.model.plm.loading import load_tokenizer, longest_text
from recbole_clickprompt.model.plm.weights import find_plm

__all__ = ["ClickPromptDataset"]

# Columns of this source reach the batches but no context-aware model takes them for a feature.
_HIDDEN = FeatureSource.NET

_CHECKED_ROWS = 32
_PART = "the part of a row"  # a column while rows are filtered; no header can hold blanks

# Goes through the split with the rows, and never into a batch
_TIMES = "_file_time"


class ClickPromptDataset(Dataset):
    """Atomic files as RecBole reads them, plus what the text of a row needs.

    Differences to ``recbole.data.dataset.Dataset``:

    - ``unsplit_fields`` are read whole as one token, where RecBole splits ``token_seq`` at blanks.
    - ``order: TO`` sorts by the time in the file; RecBole sorts after rounding it to float32, which is 64
      seconds at today's Unix times, and so moves rows over the borders of the split.
    - files are read by ``read_atomic``, which keeps the values that RecBole's reader loses.
    - ``benchmark_filename`` names files that ``recbole-cp prepare`` makes; a folder without them is split here.
      Filters hold for these files too, where RecBole passes them over in silence.
    - ``rename_fields`` gives fields other names than their files do.
    - rows are read by an index that stays a tensor; RecBole makes a Python list of it for every column.
    - ``textualizer()`` gives the text of its rows.
    - ``times`` of a split part are those of the file: RecBole's are rounded, scaled or left out.
    """

    # Of a split part: ``(rows,)`` float64, nan where a row has none; None without a time field
    times: torch.Tensor | None = None
    _file_times: pd.Series | None = None

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """Rows by an array, a tensor or whatever RecBole takes, with the columns of their users and items."""
        if not isinstance(index, np.ndarray | torch.Tensor):
            return super().__getitem__(index, join)
        rows = _rows(self.inter_feat, torch.as_tensor(index))
        if join:
            for feat, key in ((self.user_feat, self.uid_field), (self.item_feat, self.iid_field)):
                if feat is not None and key in rows:
                    rows.update(_rows(feat, rows[key]))
        return rows

    def _data_processing(self) -> None:
        self._check_fields()
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

    def _load_data(self, token: str, dataset_path: str) -> None:
        folder = Path(dataset_path)
        ranks.current().in_turn(lambda: None if folder.exists() else self._download())
        names: list[str] = self.config["benchmark_filename"] or []
        parts = [folder / f"{token}.{name}.inter" for name in names]
        whole = folder / f"{token}.inter"
        if parts and whole.is_file() and not any(part.is_file() for part in parts):
            getLogger().warning(
                f"{folder} has no {parts[0].name}, so its rows are split as eval_args says; "
                f"`recbole-cp prepare` makes the exact split"
            )
            parts, self.benchmark_filename_list = [], None
        for file in parts or [whole]:
            if not file.is_file():
                raise DataError(f"there is no file {file}; {folder} holds {_names(folder)}")
        super()._load_data(token, dataset_path)

    def _download(self) -> None:
        obtain(self.dataset_name, Path(self.dataset_path), self._download_alone)

    def _download_alone(self) -> None:
        # Behind a download RecBole waits for its own other ranks; ours wait in `in_turn`
        barrier = torch.distributed.barrier
        torch.distributed.barrier = lambda *_, **__: None
        try:
            super()._download()
        finally:
            torch.distributed.barrier = barrier

    def _check_fields(self) -> None:
        for setting in ("text_fields", "unsplit_fields", "value_words"):
            for field in self.config[setting] or ():
                if field not in self.field2type:
                    raise DataError(
                        f"{setting} names {field!r}, which the files of {self.dataset_name} do not hold or "
                        f"load_col leaves out; loaded are {', '.join(self.field2type)}"
                        f"{nearest(field, self.field2type)}"
                    )

    def _load_feat(self, filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        # Here and not above: polars and pyarrow would make the plug-in's import five times as long
        from recbole_clickprompt.host.atomic import read_atomic

        load_col, unload_col = self._get_load_and_unload_col(source)
        if load_col == set():
            return None
        names = (self.config["rename_fields"] or {}).get(getattr(source, "value", source), {})
        feat, types = read_atomic(
            Path(filepath),
            separator=self.config["field_separator"],
            encoding=self.config["encoding"] or "utf-8",
            wanted=lambda field: _is_loaded(names.get(field, field), load_col, unload_col),
        )
        feat, types = feat.rename(columns=names), {names.get(field, field): kind for field, kind in types.items()}
        if not types:
            return None
        for field, kind in types.items():
            values = feat[field]
            if kind == "token_seq" and field in (self.config["unsplit_fields"] or ()):
                words = values.fillna("").str.split().map(" ".join)
                feat[field], kind = words.where(words != "", None), "token"
            elif kind.endswith("_seq"):
                feat[field] = pd.Series(self._sequences(field, values.fillna(""), kind), index=feat.index)
            length = max(map(len, feat[field]), default=0) if kind.endswith("_seq") else 1
            if source != "link":
                self.field2source[field] = source
                self.field2type[field] = FeatureType(kind)
                self.field2seqlen[field] = length
                if "float" in kind:
                    self.field2bucketnum[field] = 2
        return feat

    def _sequences(self, field: str, values: pd.Series, kind: str) -> list[np.ndarray]:
        # split("\x20") as RecBole does, and not at every white space
        separator, dtype = self.config["seq_separator"], float if kind == "float_seq" else object
        length = (self.config["seq_len"] or {}).get(field)
        try:
            return [np.array(list(filter(None, v.split(separator)))[:length], dtype=dtype) for v in values]
        except ValueError as error:
            raise DataError(f"field {field} of {self.dataset_name} is no sequence of numbers: {error}") from error

    def _remap(self, remap_list: list[tuple[pd.DataFrame, str, FeatureType]]) -> None:
        # RecBole keeps the tokens of a field in a table as wide as the longest; one long title among a million
        # would take terabytes
        if not remap_list:
            return
        tokens, borders = self._concat_remaped_tokens(remap_list)
        codes, values = pd.factorize(tokens)
        id_token = np.array(["[PAD]", *values], dtype=object)
        token_id = {token: i for i, token in enumerate(id_token)}
        for (feat, field, kind), ids in zip(remap_list, np.split(codes + 1, borders), strict=True):
            self.field2id_token.setdefault(field, id_token)
            self.field2token_id.setdefault(field, token_id)
            lengths = feat[field].map(len) if kind is FeatureType.TOKEN_SEQ else None
            rows = ids if lengths is None else np.split(ids, np.cumsum(lengths)[:-1])
            feat[field] = pd.Series(rows, index=feat.index)

    def _data_filtering(self) -> None:
        self._refuse_empty("has no rows")
        super()._data_filtering()

    def _filter_inter_by_user_or_item(self) -> None:
        before = self.inter_feat[[self.uid_field, self.iid_field]]
        super()._filter_inter_by_user_or_item()
        if len(self.inter_feat) < len(before):
            user, item = before[~before.index.isin(self.inter_feat.index)].iloc[0]
            getLogger().warning(
                f"{len(before) - len(self.inter_feat)} of {len(before)} rows of {self.dataset_name} are left out: "
                "their user or item is not in the user or item file (filter_inter_by_user_or_item), first user "
                f"{user!r} or item {item!r}"
            )

    def _filter_by_inter_num(self) -> None:
        super()._filter_by_inter_num()
        self._refuse_empty(
            "has no rows left after val_interval, user_inter_num_interval and item_inter_num_interval"
        )

    def _refuse_empty(self, why: str) -> None:
        if self.inter_feat.empty:
            raise DataError(f"{self.dataset_name} {why}; give it rows or relax the filters")

    def _remap_ID_all(self) -> None:
        for field in self._hidden_text_fields():
            # Text is looked up by id, and such a value has none: give each distinct one an id of its own
            column = f"{field}_text"
            self.inter_feat[column] = [value_text(value) for value in self.inter_feat[field]]
            self.set_field_property(column, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
            self._rest_fields: np.ndarray = np.append(self._rest_fields, column)
        super()._remap_ID_all()
        for field in self._hidden_text_fields():
            self.field2source[f"{field}_text"] = _HIDDEN

    def _hidden_text_fields(self) -> list[str]:
        return [
            field
            for field in self.config["text_fields"] or ()
            if self.field2source[field] is FeatureSource.INTERACTION
            and self.field2type[field] is not FeatureType.TOKEN
        ]

    def _fill_nan(self) -> None:
        # RecBole is about to put the mean where a number is missing and to scale numbers to [0, 1]
        self._numbers = {
            field: self.field2feats(field)[0][field].to_numpy(copy=True)
            for field in self.config["text_fields"] or ()
            if self.field2type[field] in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
            and self.field2source[field] is not FeatureSource.INTERACTION
        }
        self.scales: dict[str, Scale] = observe_means(self)
        if self.time_field in self.inter_feat and self.field2type[self.time_field] is FeatureType.FLOAT:
            self._file_times = self.inter_feat[self.time_field].copy()
        super()._fill_nan()

    def _normalize(self) -> None:
        for field, (low, high) in observe_ranges(self).items():
            if field in self.scales:  # not a label that a threshold has made in between
                self.scales[field] = replace(self.scales[field], low=low, high=high)
        super()._normalize()

    def _discretization(self) -> None:
        for field, bins in observe_bins(self).items():
            if field in self.scales:
                self.scales[field] = replace(self.scales[field], **bins)
        super()._discretization()

    def build(self) -> list[Dataset]:
        """Splits into training, validation and test part.

        Raises:
            DataError: A part has no rows or rows of one class only.
        """
        if self.config["eval_args"]["order"] == "TO" and self.benchmark_filename_list is None:
            if self.time_field not in self.inter_feat:
                raise DataError(
                    f"eval_args orders by time, but {self.dataset_name} has no field {self.time_field!r}; "
                    "add it to load_col, set TIME_FIELD, or use `order: RO`"
                )
            self.inter_feat.sort_values(self.time_field, kind="stable", inplace=True)
        parts = super().build()
        for name, part in zip(("training", "validation", "test"), parts, strict=False):
            part.times = part.inter_feat.interaction.pop(_TIMES, None)
            self._check_labels(name, part)
        return parts

    def _change_feat_format(self) -> None:
        # Before RecBole shuffles and splits the rows; the index says where they stood in the file
        rows = self.inter_feat.index
        super()._change_feat_format()
        if self._file_times is not None:
            self.inter_feat[_TIMES] = torch.from_numpy(self._file_times[rows].to_numpy(dtype=np.float64))

    def _check_labels(self, name: str, part: Dataset) -> None:
        if self.label_field not in part.inter_feat:
            raise DataError(
                f"{self.dataset_name} has no field {self.label_field!r}; set `threshold`, "
                "or LABEL_FIELD and load_col"
            )
        label = part.inter_feat[self.label_field]
        positive = int((label > 0).sum())
        if not 0 < positive < len(label):
            raise DataError(
                f"the {name} part of {self.dataset_name} must hold both classes, got {positive} positive and "
                f"{len(label) - positive} negative rows; change threshold, val_interval or eval_args.split"
            )

    def textualizer(self) -> Textualizer:
        """The text of this data set's rows (Eq. 4), as ``text_fields`` and ``value_words`` say."""
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
            DataError: The tokenizer does not tokenise the fields of a row one by one.
        """
        tables = self.__dict__.setdefault("_token_tables", {})
        if plm not in tables:
            tables[plm] = self._build_token_table(self.tokenizer(plm), find_plm(plm))
        return tables[plm]

    def _build_token_table(self, tokenizer: Any, folder: Path) -> TokenTable:
        longest = longest_text(folder)
        wanted = self.config["max_text_length"] or longest
        if wanted > longest:
            raise SettingError(f"max_text_length is {wanted}, but {folder} takes at most {longest} tokens")
        table = TokenTable(textualizer=self.textualizer(), tokenizer=tokenizer, max_length=wanted)
        table.check(self.inter_feat[: min(_CHECKED_ROWS, len(self))], tokenizer)
        cut = int((table.full_lengths(self.inter_feat) > wanted).sum())
        if cut:
            getLogger().warning(
                f"the text of {cut} of {len(self)} rows has more than {wanted} tokens; its end is cut"
            )
        return table


def _rows(feat: Interaction, index: torch.Tensor) -> Interaction:
    return Interaction({name: column[index] for name, column in feat.interaction.items()})


def _is_loaded(field: str, load_col: set[str] | None, unload_col: set[str] | None) -> bool:
    return (load_col is None or field in load_col) and field not in (unload_col or ())


def _names(folder: Path) -> str:
    return ", ".join(sorted(p.name for p in folder.iterdir())[:12]) or "nothing"

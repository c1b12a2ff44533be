"""Extracts the preprocessing of a training run from its data set."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_clickprompt.distributed import ProcessGroup
from recbole_clickprompt.files import new_folder
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Descriptions, Field, History, Segment, Text

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["PREPROCESSING", "describe", "observe", "save_preprocessing"]

PREPROCESSING = "preprocessing"  # name of the folder in a run folder


def save_preprocessing(preprocessing: Preprocessing, run_folder: Path) -> None:
    """Writes the preprocessing of a finetuned run into its folder, so that serving does not need the data set.

    Args:
        preprocessing: The result of ``observe``.
        run_folder: An existing folder; an older preprocessing in it is replaced.
    """
    folder = run_folder / PREPROCESSING
    shutil.rmtree(folder, ignore_errors=True)
    with new_folder(folder) as work:
        preprocessing.save(work)


def observe(dataset: Dataset, plm: str | None, levels: Collection[str] = ()) -> Preprocessing:
    """Collects the preprocessing of a data set.

    Args:
        dataset: The training part of a ``TextDataset``.
        plm: The PLM that reads the text; None if the model does not read text.
        levels: ``user`` and ``item`` if the model encodes texts of users and items one by one
            (``trainer.protocols.encoded_levels``).
    """
    config = dataset.config
    tables = {
        field: values.numpy()
        for feat in (dataset.user_feat, dataset.item_feat)
        if feat is not None
        for field, values in feat.interaction.items()
        if field not in (dataset.uid_field, dataset.iid_field)
    }
    fields = {name: _field(dataset, name) for name in dataset.field2type if name != dataset.label_field}
    # RecBole drops fields that only the label or the split needs before it splits the rows
    loaded = {
        name
        for setting in ("load_col", "unused_col")
        for names in (config[setting] or {}).values()
        for name in ([] if names in (None, "*") else names)
    }
    loaded |= {dataset.label_field, dataset.time_field, *(config["threshold"] or ())}
    return Preprocessing(
        dataset=dataset.dataset_name,
        user=dataset.uid_field,
        item=dataset.iid_field,
        seq_separator=config["seq_separator"],
        fields=fields,
        ignored=sorted(name for name in loaded if name and name not in fields),
        vocabulary={
            name: np.asarray(dataset.field2id_token[name], dtype=object)
            for name, field in fields.items()
            if field.type in ("token", "token_seq")
        },
        tables=tables,
        text=None if plm is None else _text(dataset, plm),
        history=_history(dataset),
        column_names=config["column_names"],
        descriptions=describe(dataset, levels) if levels else None,
    )


def describe(dataset: Dataset, levels: Collection[str]) -> Descriptions:
    """How texts of users and items are written: fields of the level in ``text_fields``, without its id."""
    sources = {"user": FeatureSource.USER, "item": FeatureSource.ITEM}
    names = {
        level: {
            field: str(name)
            for field, name in (dataset.config["text_fields"] or {}).items()
            if dataset.field2source[field] is sources[level]
        }
        for level in levels
    }
    return Descriptions(names=names, words=_words(dataset))


def _words(dataset: Dataset) -> dict[str, dict[str, str]]:
    """By field, the words that replace its codes in texts."""
    return {
        field: {str(code): str(word) for code, word in words.items()}
        for field, words in (dataset.config["value_labels"] or {}).items()
    }


def _history(dataset: Dataset) -> History | None:
    log = dataset.history_log
    if log is None:
        return None
    labels = None if log.labels is None else log.fields.labels
    return History(items=log.fields.items, lengths=log.fields.length, labels=labels, length=log.length)


def _field(dataset: Dataset, name: str) -> Field:
    kind, source = dataset.field2type[name], dataset.field2source[name]
    is_number = kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
    values = dataset.field2feats(name)[0][name] if source.value != "net" else dataset.inter_feat[name]
    text_only = name in dataset.config["text_only_fields"]
    feature = source.value != "net" and not text_only
    feature = feature and (not is_number or name in dataset.config["numerical_features"])
    return Field(
        name=name,
        type=kind.value,
        source=source.value,
        size=int(dataset.num(name)),
        width=max(dataset.row_group.all_gather(int(values.shape[1]))) if kind.value.endswith("_seq") else 1,
        feature=feature,
        unsplit=(text_only or name in (dataset.config["whole_text_fields"] or ())) and kind is FeatureType.TOKEN,
        scale=dataset.scales[name] if is_number else None,
        range=_range(values[..., 0] if feature else values, dataset.row_group) if is_number else None,
        list_separator=dataset.config["list_separators"].get(name),
    )


def _range(numbers: torch.Tensor, group: ProcessGroup) -> tuple[float, float] | None:
    finite = numbers[numbers.isfinite()]
    own = (float(finite.min()), float(finite.max())) if len(finite) else None
    found = [extent for extent in group.all_gather(own) if extent is not None]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def _text(dataset: Dataset, plm: str) -> Text:
    config, table, tokenizer = dataset.config, dataset.token_table(plm), dataset.tokenizer(plm)
    names = dict(config["text_fields"])
    parts = zip(names, table.textualizer.fields, strict=True)
    grouped = [(key, [field for field, _ in group]) for key, group in groupby(parts, key=lambda part: part[1].key)]
    segments = [
        Segment(
            key=key,
            fields=members,
            values=table.get_buffer(f"values_{index}").cpu().numpy(),
            offsets=table.get_buffer(f"offsets_{index}").cpu().numpy(),
        )
        for index, (key, members) in enumerate(grouped)
    ]
    return Text(
        names=names,
        words=_words(dataset),
        segments=segments,
        prefix=table.prefix,
        suffix=table.suffix,
        pad_id=table.pad_id,
        max_length=table.max_length,
        blank_matters=tokenizer.tokenize("a") != tokenizer.tokenize(" a"),
        tokenizer=tokenizer.backend_tokenizer.to_str(),
    )

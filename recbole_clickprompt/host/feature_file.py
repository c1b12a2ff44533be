"""Loads one atomic file of a data set, checks it, and registers its fields.

Importing this module loads polars and pyarrow, so ``host/dataset.py`` imports it only when a file is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from recbole.utils import FeatureSource, FeatureType

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.atomic_columns import read_features
from recbole_clickprompt.host.fields import FieldOrigin, check_header, check_names, check_parts, quoted
from recbole_clickprompt.host.interactions import check_aliases, check_entities, check_interactions

if TYPE_CHECKING:
    from recbole_clickprompt.host.atomic_reader import AtomicTable
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["load_feature_file"]


def load_feature_file(
    dataset: TextDataset, path: Path, source: FeatureSource | str, *, part: tuple[int, int] = (0, 1)
) -> pd.DataFrame | None:
    """Reads the fields of a file that ``load_col`` and ``unload_col`` select.

    Args:
        dataset: The data set; the properties of the loaded fields are stored in it.
        path: The file.
        source: RecBole's source; a string for additional files, ``link`` for a file of links.
        part: As for ``read_atomic``.

    Returns:
        The rows of the file; None if no field is selected.

    Raises:
        DataError: The file cannot be read, lacks a selected field, or its rows or fields are invalid.
    """
    load_col, unload_col = dataset._get_load_and_unload_col(source)
    if load_col == set():
        return None
    name = getattr(source, "value", source)
    header: list[str] = []

    def wanted(field: str) -> bool:
        header.append(field)
        return (load_col is None or field in load_col) and field not in (unload_col or ())

    table = read_features(path, name, dataset.config, wanted=wanted, part=part)
    check_header(header, path, name, dataset.config)
    if lacking := sorted((load_col or set()) - table.types.keys()):
        raise DataError(
            f"load_col lists {quoted(lacking)} for {path.name}, but the file has no such field; its fields are "
            f"{quoted(header)}"
        )
    check_aliases(table, path, dataset.config)
    rows = table.frame
    if source is FeatureSource.INTERACTION:
        check_parts(table.types, path, dataset.origins)
        by_time = dataset.benchmark_filename_list is None and dataset.config["eval_args"]["order"] == "TO"
        rows = check_interactions(table, path, dataset.config, by_time=by_time)
        dataset.count_dropped("drop_missing", len(table.frame) - len(rows))
    elif name in ("user", "item"):
        check_entities(table, path, dataset.uid_field if name == "user" else dataset.iid_field)
    if source != "link":
        check_names(table.types, path, name, dataset.origins, dataset.config)
        _register_fields(dataset, table, rows, path, source)
    return rows if table.types else None


def _register_fields(
    dataset: TextDataset, table: AtomicTable, rows: pd.DataFrame, path: Path, source: FeatureSource | str
) -> None:
    name = getattr(source, "value", source)
    for field, kind in table.types.items():
        dataset.origins.setdefault(field, FieldOrigin(path, name, kind))
        dataset.field2source[field] = source
        dataset.field2type[field] = FeatureType(kind)
        dataset.field2seqlen[field] = max(map(len, rows[field]), default=0) if kind.endswith("_seq") else 1
        if "float" in kind:
            dataset.field2bucketnum[field] = 2

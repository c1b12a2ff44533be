"""Lets RecBole 1.2.1 run with NumPy 2 and pandas 3."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

__all__ = ["support_current_libraries"]

# Names that RecBole uses and NumPy has removed, with what they stood for
_NUMPY_NAMES: dict[str, Any] = {
    "bool": np.bool_, "int": np.int_, "float": np.float64, "complex": np.complex128, "object": np.object_,
    "str": np.str_, "long": np.int_, "unicode": np.str_,
}  # fmt: skip


def support_current_libraries() -> None:
    """Replaces the parts of RecBole that NumPy 2 or pandas 3 break."""
    # RecBole defines them in `Config.__init__` alone, which a config from a checkpoint does not call
    _restore_numpy_names()
    Config.compatibility_settings = lambda self: _restore_numpy_names()
    Dataset._fill_nan = _fill_nan
    for name in ("_normalize", "_discretization", "_remap", "_concat_remaped_tokens"):
        setattr(Dataset, name, _with_agg_of_pandas_2(getattr(Dataset, name)))
    Dataset._load_feat = _with_filled_sequences(Dataset._load_feat)


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _with_agg_of_pandas_2(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of RecBole in which ``column.agg(len)`` gives the length of each sequence, as in pandas 2."""
    series: Any = pd.Series
    agg = series.agg

    def agg_of_pandas_2(column: pd.Series, function: Any, *others: Any, **named: Any) -> Any:
        if function is len:
            return column.map(len)
        if function is np.concatenate:
            return np.concatenate(column.to_numpy())
        return agg(column, function, *others, **named)

    @functools.wraps(method)
    def wrapped(*arguments: Any) -> Any:
        with _replaced(pd.Series, "agg", agg_of_pandas_2):
            return method(*arguments)

    return wrapped


def _with_filled_sequences(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of RecBole in which missing sequences of a file that is read are empty texts, as it intends."""
    read: Callable[..., pd.DataFrame] = pd.read_csv

    def read_csv(*arguments: Any, **named: Any) -> pd.DataFrame:
        frame = read(*arguments, **named)
        return frame.fillna(dict.fromkeys((name for name in frame if str(name).endswith("_seq")), ""))

    @functools.wraps(method)
    def wrapped(*arguments: Any) -> Any:
        with _replaced(pd, "read_csv", read_csv):
            return method(*arguments)

    return wrapped


def _restore_numpy_names() -> None:
    for name, value in _NUMPY_NAMES.items():
        if name not in np.__dict__:
            setattr(np, name, value)


def _fill_nan(dataset: Dataset) -> None:
    """As RecBole's, which changes a column of a column's copy under pandas 3, and so nothing.

    Missing tokens become 0, the padding; missing numbers the mean; missing sequences empty ones.
    """
    for name in dataset.feat_name_list:
        feat = getattr(dataset, name)
        for field in feat:
            kind = dataset.field2type[field]
            if kind == FeatureType.TOKEN:
                feat[field] = feat[field].fillna(0)
            elif kind == FeatureType.FLOAT:
                feat[field] = feat[field].fillna(feat[field].mean())
            else:
                empty = np.array([], dtype=np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)
                feat[field] = feat[field].apply(lambda v, empty=empty: empty if isinstance(v, float) else v)

"""What probes of a data set share: its rows as a run would split them, and how their scores are shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from recbole.config import Config

    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["load_parts", "spread"]


def load_parts(settings: Mapping[str, Any]) -> tuple[Config, dict[str, TextDataset]]:
    """The configuration and the parts of a data set, by name: ``train``, ``valid``, ``test``.

    Args:
        settings: ``dataset``, ``seed`` and other settings of the data set; the model reads no text.

    Raises:
        UserError: A setting is invalid, or the data set cannot be used.
    """
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    from recbole_clickprompt.methods.registry import resolve_name

    sys.argv = sys.argv[:1]  # RecBole reads it too, but the arguments have been parsed
    model, implied = resolve_name("DNN")
    config = Config(config_dict={**implied, "state": "error", **settings, "model": model})
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    return config, dict(zip(("train", "valid", "test"), (loader._dataset for loader in loaders), strict=True))


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation (sample; 0 for one value), four decimals each."""
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=min(1, len(values) - 1)):.4f}"

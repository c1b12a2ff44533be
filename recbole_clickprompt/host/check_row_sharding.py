"""Rejects settings that need all rows in one process where processes share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recbole.utils import FeatureSource

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["check_row_sharding", "check_sharded_fields"]

_SHARING = "row_sharding: user"
# The only value that such a run can have, and why
_FIXED: dict[str, tuple[Any, str]] = {
    "train_stage": ("finetune", "pretraining reads all rows in each process"),
    "baselines": (False, "trivial baselines are computed from all training rows"),
    "warm_start": (None, "an earlier run knows the ids of all rows"),
    "train_rows": (None, "a sample is drawn from all training rows"),
    "train_negatives": (1, "a sample is drawn from all training rows"),
    "evals_per_epoch": (1, "parts of an epoch are cut from all training rows"),
    "rm_dup_inter": (None, "repeated rows are found among all rows"),
    "user_inter_num_interval": (None, "rows are counted repeatedly"),
    "item_inter_num_interval": (None, "rows are counted repeatedly"),
    "quoting": (None, "a quoted value may contain the end of a line, where the file is divided"),
    "worker": (0, "each process loads its own batches"),
}
_NO_LIMIT = ["[0,inf)"]  # RecBole's default for data sets that it does not know
_SAME = {"user_inter_num_interval": _NO_LIMIT, "item_inter_num_interval": _NO_LIMIT}


def check_row_sharding(settings: Mapping[str, Any], method: Method) -> None:
    """Checks ``row_sharding`` against the other settings.

    Args:
        settings: All settings of the run.
        method: Of the run.

    Raises:
        SettingError: They do not go together.
    """
    if settings["row_sharding"] == "none":
        return
    if not method.shards:
        raise SettingError(f"{_SHARING} is not supported by {method.name}; leave row_sharding out")
    for name, (value, reason) in _FIXED.items():
        if settings.get(name) not in (value, *_SAME.get(name, ())):
            raise SettingError(
                f"{_SHARING} requires {name}: {'~' if value is None else value}, got {settings[name]!r}, as "
                f"{reason}; set it, or leave row_sharding out"
            )


def check_sharded_fields(dataset: TextDataset) -> None:
    """Checks settings about fields that processes share.

    Args:
        dataset: With its fields.

    Raises:
        SettingError: ``discretization`` names a field of ``.inter``.
    """
    for field in dataset.config["discretization"] or ():
        if dataset.field2source.get(field) is FeatureSource.INTERACTION:
            raise SettingError(
                f"{_SHARING} does not support discretization of {field!r}, a field of rows; leave it out, or "
                "leave row_sharding out"
            )

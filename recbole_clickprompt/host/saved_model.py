"""The model of a checkpoint: its settings are read and checked, and it is built without loading the weights."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole.config import Config
from recbole.utils import get_model

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.host.saved_config import rebuild_config
from recbole_clickprompt.host.saved_sizes import check_sizes
from recbole_clickprompt.trainer.checkpoint import read_model

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset
    from recbole.model.abstract_recommender import AbstractRecommender

__all__ = ["build_model", "read_run"]


def read_run(path: Path, models: Collection[str]) -> tuple[Config, dict[str, Any]]:
    """Reads and checks the file of a finetuned model.

    Args:
        path: The ``.pth`` file.
        models: Names of the accepted models.

    Returns:
        RecBole's config, and the content of the file with tensors on the CPU.

    Raises:
        WeightsError: It is missing, damaged, of another model, or contains an invalid setting.
    """
    checkpoint = read_model(path)
    config = rebuild_config(checkpoint["config"], path, models)
    check_sizes(config, checkpoint["state_dict"], path)
    return config, checkpoint


def build_model(config: Config, dataset: Dataset, path: Path) -> AbstractRecommender:
    """Builds the model of a checkpoint with newly initialized weights.

    Args:
        config: The config from ``read_run``.
        dataset: The data set, or an object with its schema.
        path: The checkpoint, for the error message.

    Raises:
        WeightsError: The memory does not suffice, or the settings contradict each other.
    """
    try:
        return get_model(config["model"])(config, dataset)
    except (MemoryError, RuntimeError) as error:
        raise WeightsError(f"{path}: its model cannot be built: {' '.join(str(error).split())[:200]}") from error

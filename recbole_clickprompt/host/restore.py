"""Restores a trained model and its data from a checkpoint."""

from __future__ import annotations

import functools
import os
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import recbole.data
import recbole.quick_start
import recbole.quick_start.quick_start as quick_start
import torch
from recbole.utils import init_seed

from recbole_clickprompt.backbones import NEW_MODELS
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.host.saved_config import rebuild_config
from recbole_clickprompt.host.saved_model import build_model, read_run
from recbole_clickprompt.host.saved_sizes import check_sizes
from recbole_clickprompt.methods.registry import method_names
from recbole_clickprompt.trainer.checkpoint import load_weights, read_model

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from recbole.model.abstract_recommender import AbstractRecommender

__all__ = ["Restored", "replace_recboles_reader", "restore"]


class Restored(NamedTuple):
    """A finished run with the weights that were tested, and RecBole's loaders of its data."""

    config: Config
    model: AbstractRecommender
    dataset: Dataset
    train_data: AbstractDataLoader
    valid_data: AbstractDataLoader
    test_data: AbstractDataLoader


def restore(checkpoint: Path, *, device: torch.device) -> Restored:
    """Like RecBole's ``load_data_and_model``, but for any device, without logging and without unpickling.

    Args:
        checkpoint: The ``.pth`` file of a run.
        device: Device of the model; it need not be the one of training.

    Raises:
        WeightsError: The file is missing, damaged or foreign, or its weights do not fit the current data set.
    """
    if not checkpoint.is_file():
        raise WeightsError(f"there is no checkpoint {checkpoint}; it is stored next to the run's folder")
    config, saved = read_run(checkpoint, method_names())
    config["device"], config["show_progress"] = device, False
    restored = _restore(config, saved, checkpoint)
    restored.model.eval()
    return restored


def _restore(config: Config, saved: dict[str, Any], path: Path) -> Restored:
    init_seed(config["seed"], config["reproducibility"])  # as in training, for random splits
    # Called through the module, whose functions are patched to reject pickles
    dataset = recbole.data.create_dataset(config)
    loaders = recbole.data.data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = build_model(config, loaders[0]._dataset, path)
    load_weights(model, saved, path, fitting=f"the current data set {config['dataset']}")
    return Restored(config, model.to(config["device"]), dataset, *loaders)


def replace_recboles_reader() -> None:
    """Replaces RecBole's ``load_data_and_model``, which unpickles, by a function that reads only plain values.

    Other files are passed to RecBole's function if torch is configured to unpickle everything.
    """
    original = quick_start.load_data_and_model

    @functools.wraps(original)
    def load_data_and_model(model_file: str | Path) -> tuple[Any, ...]:
        path = Path(model_file)
        try:
            saved = read_model(path)
        except WeightsError:
            if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "").lower() not in ("1", "y", "yes", "true"):
                raise
            return original(model_file)
        config = rebuild_config(saved["config"], path, (*method_names(), *NEW_MODELS))
        check_sizes(config, saved["state_dict"], path)
        config["device"] = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        quick_start.init_logger(config)
        getLogger().info(config)
        return tuple(_restore(config, saved, path))

    for module in (quick_start, recbole.quick_start):
        module.load_data_and_model = load_data_and_model

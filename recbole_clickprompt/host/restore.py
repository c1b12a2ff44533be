"""A trained model and its data, out of a checkpoint."""

from __future__ import annotations

import functools
import os
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import recbole.data
import recbole.quick_start
import recbole.quick_start.quick_start as quick_start
import torch
from recbole.utils import init_logger, init_seed

from recbole_clickprompt.backbones import NEW_MODELS
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.host.saved_config import build_model, check_sizes, read_run, rebuild_config
from recbole_clickprompt.methods.registry import method_names
from recbole_clickprompt.trainer.checkpoint import load_weights, read_model

__all__ = ["Restored", "replace_recboles_reader", "restore"]


class Restored(NamedTuple):
    """A finished run as it was tested; the loaders are RecBole's."""

    config: Any
    model: Any
    dataset: Any
    train_data: Any
    valid_data: Any
    test_data: Any


def restore(checkpoint: Path, *, device: torch.device) -> Restored:
    """RecBole's ``load_data_and_model``, on any device and without its log; nothing untrusted is unpickled.

    Args:
        checkpoint: The ``.pth`` file of a run.
        device: Where the model goes, whatever it was trained on.

    Raises:
        WeightsError: The file is missing, damaged or foreign, or its weights do not fit the data as they are now.
    """
    if not checkpoint.is_file():
        raise WeightsError(f"there is no checkpoint {checkpoint}; it is stored next to the run's folder")
    config, saved = read_run(checkpoint, method_names())
    config["device"], config["show_progress"] = device, False
    restored = _restore(config, saved, checkpoint)
    restored.model.eval()
    return restored


def _restore(config: Any, saved: dict[str, Any], path: Path) -> Restored:
    init_seed(config["seed"], config["reproducibility"])  # as before training: it shuffles what is split at random
    # By their module: a name imported here would be RecBole's function without the check for pickles
    dataset = recbole.data.create_dataset(config)
    loaders = recbole.data.data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = build_model(config, loaders[0]._dataset, path)
    load_weights(model, saved, path, fitting=f"the data set {config['dataset']} as it is now")
    return Restored(config, model.to(config["device"]), dataset, *loaders)


def replace_recboles_reader() -> None:
    """Has RecBole's ``load_data_and_model`` read checkpoints as plain values, which it unpickles.

    Files that are not of that kind are left to RecBole where torch has been told to unpickle everything.
    """
    original = quick_start.load_data_and_model

    @functools.wraps(original)
    def load_data_and_model(model_file: Any) -> tuple[Any, ...]:
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
        init_logger(config)
        getLogger().info(config)
        return tuple(_restore(config, saved, path))

    for module in (quick_start, recbole.quick_start):
        module.load_data_and_model = load_data_and_model

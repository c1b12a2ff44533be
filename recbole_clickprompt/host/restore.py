"""A trained model and its data, out of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, init_seed

from recbole_clickprompt.errors import WeightsError

__all__ = ["Restored", "restore"]


class Restored(NamedTuple):
    """A finished run as it was tested; the loaders are RecBole's."""

    config: Any
    model: Any
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
        raise WeightsError(f"there is no checkpoint {checkpoint}; it lies beside the run's folder")
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        config, weights, other = saved["config"], saved["state_dict"], saved["other_parameter"]
    except (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, TypeError) as error:
        raise WeightsError(f"{checkpoint} is damaged, or no checkpoint of ClickPrompt: {error}") from error
    config["device"], config["show_progress"] = device, False
    init_seed(config["seed"], config["reproducibility"])  # as before training: it shuffles what is split at random
    loaders = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, loaders[0]._dataset)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise WeightsError(
            f"{checkpoint} does not fit the data set {config['dataset']} as it is now: {error}"
        ) from error
    model.load_other_parameter(other)
    return Restored(config, model.to(device).eval(), *loaders)

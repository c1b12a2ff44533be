"""Clear errors where RecBole's own models fail; this package leaves them unchanged.

Backbones have the names of RecBole's models. ``run_recbole(model="DCNV2")`` trains RecBole's, with RecBole's
defaults; ``recbole-cp run --model=DCNV2`` trains the backbone of this package.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import recbole

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.host.properties import find_property_file
from recbole_clickprompt.methods.registry import methods

__all__ = ["explained_weights_error", "reject_unlabeled_data"]

# With one of these, the user has described the data to RecBole
_DESCRIPTIONS = ("load_col", "unload_col", "train_neg_sample_args")


def reject_unlabeled_data(model: str, dataset: str, given: Mapping[str, Any]) -> None:
    """Rejects a data set that only this package describes, for a model of RecBole with the name of a backbone.

    RecBole would load no labels, and fail later with a KeyError.

    Args:
        model: Name of the model, which is no method.
        dataset: Name of the data set.
        given: The user's settings.

    Raises:
        SettingError: The data set has no property file of RecBole, and ``given`` does not describe it.
    """
    instead = _instead(model)
    described = any(name in given for name in _DESCRIPTIONS)
    in_recbole = Path(recbole.__file__).parent / "properties" / "dataset" / f"{dataset}.yaml"
    if instead is None or described or os.path.isfile(in_recbole):
        return
    if find_property_file(f"dataset/{dataset}.yaml") is not None:
        raise SettingError(
            f"run_recbole(model={model!r}) trains a model of RecBole, which does not read this package's property "
            f"file of the data set {dataset}, so there are no labels; to train as recbole-cp run --model={model} "
            f"does, {instead}; to train the model of RecBole, describe the data set by load_col and threshold"
        )


@contextmanager
def explained_weights_error(model: str | None) -> Iterator[None]:
    """Explains the error of torch for the checkpoint of a model of RecBole.

    Raises:
        WeightsError: torch rejects the checkpoint.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        instead = _instead(model)
        raise WeightsError(
            "the model is trained, but torch 2.6 and later do not load the checkpoints that RecBole writes of its "
            "own models; set the environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 if you trust these files"
            + (f"; or, to train as recbole-cp run --model={model} does, {instead}" if instead else "")
        ) from error


def _instead(model: str | None) -> str | None:
    """How ``run_recbole`` trains what the command line does by this name; None if it is no alias of a method."""
    for method in methods():
        if model is not None and model in method.aliases:
            return f"use model={method.name!r} with config_dict={dict(method.aliases[model])!r}"
    return None

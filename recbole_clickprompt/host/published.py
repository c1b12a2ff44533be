"""The files of a published model that the trained model is read from: settings, weights and language models.

A published folder (``serving/publish.py``)::

    README.md            the model card; may be edited
    config.json          format, version of this package, model, settings, language models
    model.safetensors    all weights, tied ones once
    preprocessing/       vocabularies, fields, features of users and items, tokens of their texts
    plm/, student/       the language model that a setting of this name refers to
    states-….safetensors the states of known texts, with interaction layers
    checksums.json       SHA-256 of all files but the card
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import recbole_clickprompt
from recbole_clickprompt.errors import DataError, WeightsError
from recbole_clickprompt.host.saved_config import rebuild_config
from recbole_clickprompt.host.saved_sizes import check_sizes
from recbole_clickprompt.plm.weight_files import lacks_weights, stored_shapes
from recbole_clickprompt.preprocessing.checksums import CHECKSUMS, verify_checksums
from recbole_clickprompt.settings.registry import of_stage
from recbole_clickprompt.trainer.plain_values import to_plain
from recbole_clickprompt.trainer.tied_weights import without_ties

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.model.abstract_recommender import AbstractRecommender

__all__ = [
    "CARD", "CONFIG_FILE", "check_replaceable", "is_published", "published_settings", "read_published",
    "write_published",
]  # fmt: skip

CARD, CONFIG_FILE, WEIGHTS_FILE = "README.md", "config.json", "model.safetensors"
_LIBRARY = "recbole-clickprompt"
_FORMAT = 1
_RECOVERY = "download or publish it again"
# Paths, and settings of the process that trained the model
_DROPPED = (
    "plm", "student", "pre_model_path", "phrase_dictionary", "preload_weight", "dataset_save_path",
    "dataloaders_save_path", "wandb_project", "local_rank", "single_spec", "nproc", "world_size", "ip", "port",
    "offset",
)  # fmt: skip
_PAIRS = "__pairs__"  # a mapping whose keys are no strings, as a list of pairs
# A language model without weights is built with random ones: parameters that it may have beyond the stored ones
_SPARE_PARAMETERS = 1 << 30


def is_published(folder: Path) -> bool:
    """Whether a folder is that of a published model, which may be damaged."""
    return any((folder / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE))


def check_replaceable(folder: Path) -> None:
    """Checks that a folder is a published model with nothing else in it, before it is removed.

    Raises:
        DataError: It is something else, or has files that publishing did not write.
    """
    try:
        _read_config(folder)
        written = {*json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")), CARD, CHECKSUMS}
    except (DataError, OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{folder} is no published model, and --overwrite replaces nothing else; choose another folder"
        ) from error
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if others := sorted(files - written):
        raise DataError(
            f"{folder} also has files that publishing did not write, such as {others[0]}, and --overwrite would "
            "remove them; move them away, or choose another folder"
        )


def published_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that determined a trained model: no paths, and none of the machine.

    Of files with a teacher's answers only the names are kept.
    """
    dropped = {*of_stage("none"), *_DROPPED, "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "model"}
    settings = {key: value for key, value in to_plain(dict(config)).items() if key not in dropped}
    if settings.get("knowledge"):
        settings["knowledge"] = [Path(name).name for name in settings["knowledge"]]
    return settings


def write_published(
    folder: Path, config: Config, model: AbstractRecommender, language_models: Mapping[str, str]
) -> None:
    """Writes settings and weights.

    Args:
        folder: An existing folder.
        config: Settings of the run.
        model: The trained model.
        language_models: By setting, such as ``plm``, the name of each language model that is in the folder.
    """
    content = {
        "library": _LIBRARY,
        "format": _FORMAT,
        "version": recbole_clickprompt.__version__,
        "model": config["model"],
        "language_models": dict(language_models),
        "settings": _encoded(published_settings(config.final_config_dict)),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / CONFIG_FILE).write_text(f"{text}\n", encoding="utf-8")
    save_file(without_ties(model.state_dict()), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).chmod((folder / CONFIG_FILE).stat().st_mode)  # save_file lets no other user read it


def read_published(folder: Path, models: Collection[str]) -> tuple[Config, dict[str, Any]]:
    """Reads and checks settings and weights, like ``saved_model.read_run``.

    Args:
        folder: The folder.
        models: Names of the accepted models.

    Returns:
        RecBole's config, whose language models are those in the folder; and ``state_dict``, on the CPU, which has
        tied weights once.

    Raises:
        DataError: A file is missing, damaged or was edited, or the folder is of a newer format.
        WeightsError: It is of another model, or contains an invalid setting or language model.
    """
    content = _read_config(folder)
    verify_checksums(folder, [CONFIG_FILE, WEIGHTS_FILE], recovery=_RECOVERY, required=True)
    file = folder / CONFIG_FILE
    language_models = content["language_models"]
    # Where a model looks for a language model that was not published, it finds none
    paths = {name: str(folder.absolute() / name) for name in ("plm", *language_models)}
    try:
        settings = _decoded(content["settings"])
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: its settings cannot be read: {error}; {_RECOVERY}") from error
    values = {**settings, "model": content["model"], "data_path": str(folder), **paths}
    config = rebuild_config(values, file, models)
    try:
        weights = load_file(folder / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{folder / WEIGHTS_FILE} is damaged: {error}; {_RECOVERY}") from error
    check_sizes(config, weights, file)
    _check_language_models(folder, language_models, weights)
    return config, {"state_dict": weights}


def _read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``, with the expected keys and types; raises DataError."""
    path = folder / CONFIG_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}; {_RECOVERY}") from error
    if not isinstance(content, dict) or content.get("library") != _LIBRARY:
        raise DataError(
            f"{folder} is not a published model: {CONFIG_FILE} does not name {_LIBRARY} as its library"
        )
    number = content.get("format")
    if isinstance(number, int) and number > _FORMAT:
        raise DataError(
            f"{folder} has format {number}, written by {_LIBRARY} {content.get('version')}, and version "
            f"{recbole_clickprompt.__version__} reads formats up to {_FORMAT}; pip install -U {_LIBRARY}"
        )
    types = {"format": int, "model": str, "language_models": dict, "settings": dict}
    for key, kind in types.items():
        if not isinstance(content.get(key), kind):
            raise DataError(f"{path} is damaged: {key} must be of type {kind.__name__}; {_RECOVERY}")
    if not set(content["language_models"]) <= {"plm", "student"}:
        raise DataError(f"{path} is damaged: language_models has other names than plm and student; {_RECOVERY}")
    return content


def _check_language_models(folder: Path, names: Collection[str], weights: Mapping[str, torch.Tensor]) -> None:
    """Raises WeightsError where a language model without weights is far larger than the published weights."""
    stored = sum(weight.numel() for weight in weights.values())
    for name in names:
        if lacks_weights(folder / name):
            described = sum(map(math.prod, stored_shapes(folder / name).values()))
            if described > stored + _SPARE_PARAMETERS:
                raise WeightsError(
                    f"{folder / name} describes a language model of {described:,} parameters, but "
                    f"{WEIGHTS_FILE} has {stored:,}; {_RECOVERY}"
                )


def _encoded(value: Any) -> Any:
    """Plain values as JSON has them."""
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _encoded(inner) for key, inner in value.items()}
        return {_PAIRS: [[key, _encoded(inner)] for key, inner in value.items()]}
    return [_encoded(inner) for inner in value] if isinstance(value, list | tuple) else value


def _decoded(value: Any) -> Any:
    """The inverse of ``_encoded``, but for tuples, which become lists."""
    if isinstance(value, dict):
        if set(value) == {_PAIRS}:
            return {key: _decoded(inner) for key, inner in value[_PAIRS]}
        return {key: _decoded(inner) for key, inner in value.items()}
    return [_decoded(inner) for inner in value] if isinstance(value, list) else value

"""Loads a run, a published model or an export as a model that scores raw rows."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from recbole_clickprompt.errors import SettingError, StorageError, WeightsError
from recbole_clickprompt.evaluation.run_folder import checkpoint_of
from recbole_clickprompt.host.published import CONFIG_FILE, is_published, read_published
from recbole_clickprompt.host.saved_model import build_model, read_run
from recbole_clickprompt.methods.registry import find_method, method_names
from recbole_clickprompt.plm.read_weights import weights_follow
from recbole_clickprompt.preprocessing.checks import check_tokens
from recbole_clickprompt.preprocessing.checksums import CHECKSUMS
from recbole_clickprompt.preprocessing.from_dataset import PREPROCESSING, describe, observe
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving.exported_files import ONNX_FILE, load_export
from recbole_clickprompt.serving.model import ServedModel
from recbole_clickprompt.serving.schema_dataset import SchemaDataset
from recbole_clickprompt.serving.scores import torch_scores
from recbole_clickprompt.serving.vector_cache import CacheOptions
from recbole_clickprompt.trainer.checkpoint import load_weights
from recbole_clickprompt.trainer.text_vectors import answered_levels, encoded_levels
from recbole_clickprompt.trainer.tied_weights import tied

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.model.abstract_recommender import AbstractRecommender

    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["Trained", "build_data", "load_model", "load_trained", "serve_trained"]


class Trained(NamedTuple):
    """A trained model, its settings and preprocessing.

    Attributes:
        config: Settings of the run.
        model: A ``trainer.protocols.CTRModel``, in evaluation mode.
        preprocessing: How raw rows become the model's inputs.
        data: Training, validation and test part of the data set, if they had to be built.
    """

    config: Config
    model: AbstractRecommender
    preprocessing: Preprocessing
    data: list[TextDataset] | None


def load_model(
    run: str | Path,
    device: str | None = None,
    *,
    cache_items: int | None = None,
    cache_ttl: float | None = None,
    redis_url: str | None = None,
) -> ServedModel:
    """Loads a model that scores raw rows.

    Args:
        run: The checkpoint of a finetuned model (``.pth``), the folder of its run, or a folder that
            ``recbole-cp publish`` or ``recbole-cp export`` wrote.
        device: ``cpu`` or ``cuda``; default: cuda if available. Exports run on the CPU.
        cache_items: Maximum number of vectors of texts, of users and of items each, in the memory of this process;
            0 keeps none, None is 100,000. This and the following are for models that encode texts one by one.
        cache_ttl: Seconds after which a vector is computed again; None is never.
        redis_url: A Redis server with vectors that several processes share; None uses none.

    Raises:
        SettingError: There is no such device, an option of the cache is invalid, or the model has no use for it.
        WeightsError: The checkpoint is missing, damaged or of another model.
        DataError: A file of a published model or an export is damaged; or the data set of the training run is
            needed and cannot be read.
    """
    run, cache = Path(run), CacheOptions(cache_items, cache_ttl, redis_url)
    if not is_published(run) and any((run / name).is_file() for name in (ONNX_FILE, CHECKSUMS)):
        if cache.given:
            raise SettingError(f"{run} is an export, which encodes no texts; leave out {', '.join(cache.given)}")
        return load_export(run)
    return serve_trained(load_trained(run, device), cache)


def serve_trained(trained: Trained, cache: CacheOptions = CacheOptions()) -> ServedModel:  # noqa: B008 - frozen
    """A loaded model as one that scores raw rows.

    Args:
        trained: The model.
        cache: Where the vectors of texts are kept.

    Raises:
        SettingError: An option of the cache is invalid, or the model has no use for it.
    """
    model, preprocessing = trained.model, trained.preprocessing
    scores = torch_scores(
        model, preprocessing, trained.config["device"], enable_amp=trained.config["enable_amp"], cache=cache
    )
    return ServedModel(
        preprocessing,
        scores,
        separate_texts=scores.states is not None,
        cache=None if scores.vectors is None else scores.vectors.cache,
        answered_levels=answered_levels(model),
    )


def load_trained(run: Path, device: str | None = None) -> Trained:
    """The model of a run, built without the training data if the run saved its preprocessing.

    Args:
        run: Checkpoint, the folder of a run, or that of a published model.
        device: As for ``load_model``.

    Raises:
        SettingError: There is no such device.
        WeightsError: The checkpoint is missing, damaged or of another model.
        DataError: The data set of the training run is needed and cannot be read.
    """
    config, checkpoint = _read(run)
    config["device"] = _device(device)
    # Where training stored the states of texts, and where they are stored if they have to be computed again
    config["checkpoint_dir"], config["show_progress"] = str(_file(run).parent), sys.stderr.isatty()
    saved, data = (run if run.is_dir() else run.with_suffix("")) / PREPROCESSING, None
    if saved.is_dir():
        preprocessing = Preprocessing.load(saved)
    else:
        data = build_data(config)
        serves_text = find_method(config["model"]).serves_text_with(config)
        preprocessing = observe(data[0], config["plm"] if serves_text else None)
    with weights_follow():
        model = _build(config, preprocessing, _file(run))
    checkpoint["state_dict"] |= tied(model, checkpoint["state_dict"])
    load_weights(model, checkpoint, _file(run), fitting=f"the data set {config['dataset']} as it is now")
    if data is not None and (levels := encoded_levels(model)):
        preprocessing = replace(preprocessing, descriptions=describe(data[0], levels))
    if preprocessing.text is not None:
        check_tokens(preprocessing.text, model.plm.encoder.config.vocab_size)
    return Trained(config, model.to(config["device"]).eval(), preprocessing, data)


def _build(config: Config, preprocessing: Preprocessing, file: Path) -> AbstractRecommender:
    """The model; states that a read-only folder lacks are computed for this process alone."""
    try:
        return build_model(config, SchemaDataset(preprocessing), file)
    except StorageError as error:
        getLogger().warning(f"{error}; states of texts are computed again in each process")
        with tempfile.TemporaryDirectory() as folder:  # its file stays mapped
            config["checkpoint_dir"] = folder
            return build_model(config, SchemaDataset(preprocessing), file)


def _file(run: Path) -> Path:
    return run / CONFIG_FILE if is_published(run) else checkpoint_of(run)


def _read(run: Path) -> tuple[Config, dict[str, Any]]:
    if is_published(run):
        return read_published(run, method_names())
    path = checkpoint_of(run)
    if not path.is_file():
        raise WeightsError(
            f"there is no file {path}; give the .pth file that training wrote, or the folder next to it"
        )
    return read_run(path, method_names())


def build_data(config: Config) -> list[TextDataset]:
    """Training, validation and test part of a run's data set, built from its files.

    Raises:
        DataError: They cannot be read.
    """
    from recbole.utils import init_seed

    from recbole_clickprompt.host.dataset import TextDataset

    init_seed(config["seed"], config["reproducibility"])  # repeats a random split of the training run
    return TextDataset(config).build()


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise SettingError(f"device must be cpu, or cuda if there is a GPU; got {name!r}")
    return torch.device(name)

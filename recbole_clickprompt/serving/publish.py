"""Publishes a trained model: a folder that contains everything that scoring needs, with a model card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_clickprompt.embeddings.table import sharded_tables
from recbole_clickprompt.errors import DataError, WeightsError
from recbole_clickprompt.evaluation.run_folder import RunFolder, folder_of, open_run
from recbole_clickprompt.evaluation.run_info import INFO_FILE
from recbole_clickprompt.files import new_folder
from recbole_clickprompt.host.published import CARD, check_replaceable, is_published, write_published
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.plm.origin import origin_of
from recbole_clickprompt.plm.text_inputs import save_text_states
from recbole_clickprompt.plm.weight_files import copy_plm
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.preprocessing.checksums import CHECKSUMS, write_checksums
from recbole_clickprompt.preprocessing.from_dataset import PREPROCESSING
from recbole_clickprompt.serving.load import Trained, load_trained, serve_trained
from recbole_clickprompt.serving.model_card import model_card
from recbole_clickprompt.serving.rows import Counts
from recbole_clickprompt.serving.sample_rows import sample_rows
from recbole_clickprompt.serving.schema_dataset import PrecomputedTokens
from recbole_clickprompt.text.states import StateTable

__all__ = ["Published", "publish"]

# Largest difference between scores of the run and of the published model
TOLERANCE = 1e-6
_ROWS = 64  # of known users and items, and as many of new ones, that are compared


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        files: Size in bytes of each file in the folder, by relative path.
        difference: Largest absolute difference of a score from the run's.
    """

    files: dict[str, int]
    difference: float


def publish(run: Path, folder: Path, *, license: str | None = None, overwrite: bool = False) -> Published:
    """Writes a trained model, its preprocessing, its language model and a model card into a folder.

    The folder is loaded again, and its scores are compared with the run's, before it gets its name.

    Args:
        run: Checkpoint, or the folder of a run.
        folder: Must not exist, or be a published model with ``overwrite``. It is unchanged after any error.
        license: The license of the model, as the Hugging Face hub writes it, for the card.
        overwrite: Replace a published model.

    Raises:
        DataError: The folder exists, or the data set of the training run is needed and cannot be read.
        WeightsError: The run or its language model cannot be read, it has sharded tables, or the scores of the
            folder differ.
    """
    if is_published(run) or (run / CHECKSUMS).is_file():
        raise DataError(f"{run} is a published model or an export, not a run; give the .pth file of the run")
    with _replacing(folder, overwrite=overwrite) as work:
        trained = load_trained(run, "cpu")
        if any(sharded_tables(trained.model)):
            raise WeightsError(
                f"{run}: a run with embedding_engine: torchrec cannot be published, as its tables may not "
                "fit into memory; train it with embedding_engine: torch"
            )
        needed = _copy_language_models(trained, work)
        names = {setting: origin_of(trained.config[setting]).name for setting in needed}
        write_published(work, trained.config, trained.model, names)
        (work / PREPROCESSING).mkdir()
        trained.preprocessing.save(work / PREPROCESSING)
        _write_states(trained, work)
        card = model_card(trained, _finished_run(run), needed, license=license)
        (work / CARD).write_text(card, encoding="utf-8")
        write_checksums(work, but=[CARD])
        difference = _difference(trained, load_trained(work, "cpu"))
        if not difference <= TOLERANCE:
            raise WeightsError(
                f"{run}: scores of the published model differ from the run's by up to {difference:.1e}, more than "
                f"{TOLERANCE:.0e}; nothing was written. Its method keeps weights outside of its state_dict, or "
                "reads a language model that served_language_models does not name"
            )
        files = {file.relative_to(work).as_posix(): file.stat().st_size for file in _files(work)}
    return Published(files, difference)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


@contextmanager
def _replacing(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields a new folder that gets the name ``folder`` at the end; a published model there is removed then."""
    if not folder.exists():
        with new_folder(folder) as work:
            yield work
        return
    if not overwrite:
        raise DataError(
            f"{folder} already exists; choose another folder, or replace a published model by --overwrite"
        )
    check_replaceable(folder)
    fresh, old = (folder.with_name(f".{folder.name}.{word}-{os.getpid()}") for word in ("new", "old"))
    with new_folder(fresh) as work:
        yield work
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _copy_language_models(trained: Trained, folder: Path) -> Mapping[str, bool]:
    """Copies the language models that the published model needs; see ``Method.served_language_models``."""
    config = trained.config
    needed = find_method(config["model"]).served_language_models(config)
    for setting, weights in needed.items():
        copy_plm(find_plm(config[setting], seed=config["seed"]), folder / setting, weights=weights)
    return needed


def _write_states(trained: Trained, folder: Path) -> None:
    """Writes the states of known texts that a model with frozen layers reads."""
    table, text = getattr(trained.model, "text", None), trained.preprocessing.text
    if isinstance(table, StateTable) and text is not None:
        save_text_states(trained.config, PrecomputedTokens(text), trained.model.plm, table, folder)


def _finished_run(run: Path) -> RunFolder | None:
    """The folder of a run; None if only the checkpoint is left. Raises DataError if it is damaged."""
    folder = run if run.is_dir() else folder_of(run)
    return open_run(folder) if (folder / INFO_FILE).is_file() else None


def _difference(one: Trained, other: Trained) -> float:
    """The largest absolute difference between the scores of two models, on rows of known and of new values."""
    tables = [sample_rows(one.preprocessing, _ROWS, unseen=unseen) for unseen in (False, True)]
    first, second = (
        np.concatenate([model.score(table, Counts()) for table in tables])
        for model in (serve_trained(one), serve_trained(other))
    )
    return float(np.abs(first - second).max())

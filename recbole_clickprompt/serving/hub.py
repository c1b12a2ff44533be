"""Published models by folder or by their id on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.host.published import is_published
from recbole_clickprompt.plm.weights import fetch, first_line, is_path
from recbole_clickprompt.serving.load import load_model
from recbole_clickprompt.serving.model import ServedModel

__all__ = ["from_pretrained"]

_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "*.npz", "README.md"]


def from_pretrained(
    name: str | Path,
    device: str | None = None,
    *,
    revision: str | None = None,
    cache_items: int | None = None,
    cache_ttl: float | None = None,
    redis_url: str | None = None,
) -> ServedModel:
    """Loads a published model, which scores raw rows; no data set is needed.

    Args:
        name: A folder that ``recbole-cp publish`` wrote, or the id of such a model on the Hugging Face hub. A
            folder of this name has priority. A model of the hub is downloaded once, into its cache.
        device: As for ``load_model``, like the following arguments but ``revision``.
        revision: Branch, tag or commit of a model of the hub; None is its latest state.
        cache_items: As for ``load_model``.
        cache_ttl: As for ``load_model``.
        redis_url: As for ``load_model``.

    Raises:
        SettingError: As for ``load_model``.
        WeightsError: There is no such model, or the hub cannot be reached; or as for ``load_model``.
        DataError: The folder is no published model, or a file is damaged.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _download(str(name), revision)
    if not is_published(folder):
        raise WeightsError(
            f"{name} is not a published model; recbole-cp publish makes one of a run, and load_model reads runs"
        )
    return load_model(folder, device, cache_items=cache_items, cache_ttl=cache_ttl, redis_url=redis_url)


def _download(name: str, revision: str | None) -> Path:
    if is_path(name):
        raise WeightsError(
            f"there is no folder {name}; give one that recbole-cp publish wrote, or an id of the hub"
        )
    try:
        return fetch(name, patterns=_FILES, revision=revision)
    except OSError as error:
        raise WeightsError(
            f"{name!r} is no folder, and it cannot be downloaded from the Hugging Face hub ({first_line(error)}); "
            "check the id, sign in for private models (hf auth login), or download it elsewhere (hf download) and "
            "give its folder"
        ) from error

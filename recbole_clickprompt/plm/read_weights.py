"""Builds transformers' models and reads their weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.weight_files import first_line, lacks_weights

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["quiet", "read_weights", "weights_follow"]

_follow = ContextVar("follow", default=False)


@contextmanager
def weights_follow() -> Iterator[None]:
    """In this context, weights that a model's folder lacks stay random, because trained ones will replace them."""
    token = _follow.set(True)
    try:
        yield
    finally:
        _follow.reset(token)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' messages about missing and unused weights; callers raise for relevant ones."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_weights(
    folder: Path, config: PreTrainedConfig, auto_class: type[PreTrainedModel]
) -> tuple[Any, list[str]]:
    """Builds a model and reads its weights.

    Args:
        folder: Folder of the model.
        config: Its config, which may have been changed.
        auto_class: The auto class of transformers that loads it.

    Returns:
        transformers' model in float32 on the CPU, in evaluation mode; and the names of weights that no file has.

    Raises:
        WeightsError: The weights cannot be read; or the folder lacks them, outside of ``weights_follow``.
    """
    if lacks_weights(folder) and not _follow.get():
        raise WeightsError(
            f"{folder} has no weights: it belongs to a published model, which has them; load that one, or use the "
            "language model that it was trained from"
        )
    try:
        with quiet():
            if lacks_weights(folder):
                return auto_class.from_config(config, trust_remote_code=False).float().eval(), []
            model, info = auto_class.from_pretrained(
                folder,
                config=config,
                output_loading_info=True,
                dtype="float32",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except Exception as error:  # transformers passes on any error of its parsers
        raise WeightsError(f"{folder}: its weights cannot be read: {first_line(error)}") from error
    return model, list(info["missing_keys"])

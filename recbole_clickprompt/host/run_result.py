"""Adds the paths of a run to the result of RecBole's ``run_recbole``."""

from __future__ import annotations

import functools
from typing import Any

import recbole.quick_start
import recbole.quick_start.quick_start as quick_start

from recbole_clickprompt.evaluation.run_folder import folder_of
from recbole_clickprompt.host.recbole_models import explained_weights_error
from recbole_clickprompt.trainer.run_logger import collect_finished_runs

__all__ = ["install"]


def install() -> None:
    """Patches RecBole so that the result of a saved run has its ``checkpoint`` and ``run_folder``, both texts.

    The result of RecBole's own models is unchanged: they leave no run folder.
    """
    original = quick_start.run_recbole

    @functools.wraps(original)
    def run_recbole(
        model: str | None = None,
        dataset: str | None = None,
        config_file_list: list[str] | None = None,
        config_dict: dict[str, Any] | None = None,
        saved: bool = True,
        queue: Any = None,
    ) -> dict[str, Any]:
        with collect_finished_runs() as runs, explained_weights_error(model):
            result = original(model, dataset, config_file_list, config_dict, saved)
        for checkpoint in runs:
            result.update(checkpoint=str(checkpoint), run_folder=str(folder_of(checkpoint)))
        if queue is not None:  # only the first of several processes has one
            queue.put(result)
        return result

    for module in (quick_start, recbole.quick_start):
        module.run_recbole = run_recbole

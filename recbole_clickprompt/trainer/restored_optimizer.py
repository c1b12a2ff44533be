"""Restores the state of an earlier run's optimizer for the present ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.trainer.table_rows import IdMap, Rows, table_rows

if TYPE_CHECKING:
    from recbole_clickprompt.trainer.warm_start_file import SavedRun

__all__ = ["restore_optimizer"]


def restore_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, saved: SavedRun, ids: IdMap, *, learner: str
) -> None:
    """Loads the state of a saved run's optimizer. Rows of new ids have none; learning rates are not changed.

    Args:
        optimizer: Of the present run, without state.
        model: The model that it trains.
        saved: The earlier run.
        ids: Where its values are in the present vocabulary.
        learner: RecBole's name of the optimizer.

    Raises:
        SettingError: The state is missing, or of another optimizer or other parameters.
    """
    other = SettingError(
        f"warm_start_optimizer: the optimizer of {saved.path} ({saved.settings.get('learner')}) has other "
        f"parameters than that of this run ({learner}); use the learner, plm_learning_rate and "
        "lazy_embedding_min_rows of its run, or set warm_start_optimizer: fresh"
    )
    if saved.optimizer is None or saved.settings.get("learner") != learner:
        raise other
    groups = optimizer.state_dict()["param_groups"]
    try:
        sizes, saved_sizes = _sizes(groups), _sizes(saved.optimizer["param_groups"])
        state = _state(optimizer, model, saved.optimizer["state"], ids) if sizes == saved_sizes else None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # no state of an optimizer
        raise other from error
    if state is None:
        raise other
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _sizes(groups: Sequence[Mapping[str, Any]]) -> list[int]:
    return [len(group["params"]) for group in groups]


def _state(
    optimizer: torch.optim.Optimizer, model: nn.Module, entries: Mapping[int, Mapping[str, Any]], ids: IdMap
) -> dict[int, dict[str, Any]]:
    """The saved state of each parameter, by its number; raises ValueError if it does not fit."""
    layouts, names = table_rows(model), {id(parameter): name for name, parameter in model.named_parameters()}
    state = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(parameters):
        if number in entries:
            rows = layouts.get(names[id(parameter)])
            state[number] = {name: _moved(value, parameter, rows, ids) for name, value in entries[number].items()}
    return state


def _moved(value: Any, parameter: Tensor, rows: Rows | None, ids: IdMap) -> Any:
    """A value of a parameter's state; a tensor of its shape follows the ids."""
    if not isinstance(value, Tensor) or not value.ndim:
        return value
    if rows is None:
        if value.shape != parameter.shape:
            raise ValueError("another shape")
        return value
    places, size = ids.rows(rows)
    if len(value) != len(places) or value.shape[1:] != parameter.shape[1:]:
        raise ValueError("another shape")
    moved = value.new_zeros(size, *value.shape[1:])
    there = places >= 0
    moved[places[there]] = value[there]
    return moved

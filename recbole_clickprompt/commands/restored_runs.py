"""Finished runs loaded again from their checkpoints, one at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from recbole_clickprompt.evaluation.run_folder import RunFolder
    from recbole_clickprompt.host.restore import Restored

__all__ = ["default_device", "restore_run", "visit_runs"]


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def restore_run(run: RunFolder, *, device: torch.device) -> Restored:
    """A finished run with its model and data set; raises WeightsError if that fails."""
    from recbole_clickprompt.host.restore import restore

    return restore(run.checkpoint, device=device)


def visit_runs(
    runs: Mapping[str, RunFolder], visit: Callable[[str, Restored], None], *, device: torch.device
) -> None:
    """Restores each run once and passes it to ``visit``.

    A run is released before the next one is restored, so only one data set is in memory at a time. Anything that
    several sections of a report need from a run is computed in the same visit.

    Args:
        runs: By name.
        visit: Called with the name and the restored run; must not keep its data set.
        device: Where the models go.

    Raises:
        WeightsError: A checkpoint cannot be restored.
    """
    for name, run in runs.items():
        visit(name, restore_run(run, device=device))
        gc.collect()  # loaders and data sets refer to one another

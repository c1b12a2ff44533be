"""RecBole's objective function of a tuning, for trials in other processes and with validation metrics."""

from __future__ import annotations

import logging
from typing import Any

from recbole.quick_start import objective_function as hosts

__all__ = ["objective_function"]


def objective_function(
    config_dict: dict[str, Any] | None = None, config_file_list: list[str] | None = None, saved: bool = True
) -> dict[str, Any]:
    """One trial; arguments, and five keys of the answer, are those of RecBole's function of this name.

    Being ours, it is pickled as a name in this package. So a worker of Ray imports the package, which registers
    the models there; with RecBole's own function a worker knows none of them.

    Returns:
        RecBole's answer; the test metrics by their names besides, because Ray wants what was reported in the last
        result too; and the metrics of the best validation as ``valid_<metric>``.
    """
    # RecBole reports to Ray wherever it runs, and Ray answers with a traceback that it is not there
    logging.getLogger("ray.tune.trainable.session").setLevel(logging.ERROR)
    result = hosts(dict(config_dict or {}), config_file_list, saved)
    valid = {f"valid_{name}": value for name, value in (result["best_valid_result"] or {}).items()}
    return {**result, **result["test_result"], **valid}

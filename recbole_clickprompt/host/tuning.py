"""RecBole's objective function for hyperparameter searches, extended by validation metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import recbole.quick_start.quick_start as quick_start

__all__ = ["objective_function"]


def objective_function(
    config_dict: dict[str, Any] | None = None, config_file_list: list[str] | None = None, saved: bool = True
) -> dict[str, Any]:
    """Runs one trial; a drop-in replacement for RecBole's function of the same name.

    Functions are pickled by their module, so a Ray worker imports this package, which registers its models; with
    RecBole's own function, a worker would not know them.

    Returns:
        RecBole's result, extended by the test metrics under their names and the best validation metrics as
        ``valid_<metric>``, by which a search should select.
    """
    with _without_report():
        result = quick_start.objective_function(dict(config_dict or {}), config_file_list, saved)
    valid = {f"valid_{name}": value for name, value in (result["best_valid_result"] or {}).items()}
    return {**result, **result["test_result"], **valid}


@contextmanager
def _without_report() -> Iterator[None]:
    # RecBole reports only test metrics to Ray. Ray rejects the report if it selects by another metric, and without
    # a Ray session the call logs a traceback. The returned dict is a report too, and contains all metrics.
    class Silent:
        report = staticmethod(lambda **_: None)

    before, quick_start.tune = quick_start.tune, Silent
    try:
        yield
    finally:
        quick_start.tune = before

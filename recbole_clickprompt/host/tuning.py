"""RecBole's objective function of a tuning, for trials in other processes and with validation metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import recbole.quick_start.quick_start as host

__all__ = ["objective_function"]


def objective_function(
    config_dict: dict[str, Any] | None = None, config_file_list: list[str] | None = None, saved: bool = True
) -> dict[str, Any]:
    """One trial; arguments, and five keys of the answer, are those of RecBole's function of this name.

    Being ours, it is pickled as a name in this package. So a worker of Ray imports the package, which registers
    the models there; with RecBole's own function a worker knows none of them.

    Returns:
        RecBole's answer; the test metrics by their names besides; and the metrics of the best validation as
        ``valid_<metric>``, which is what a search should select by.
    """
    with _without_report():
        result = host.objective_function(dict(config_dict or {}), config_file_list, saved)
    valid = {f"valid_{name}": value for name, value in (result["best_valid_result"] or {}).items()}
    return {**result, **result["test_result"], **valid}


@contextmanager
def _without_report() -> Iterator[None]:
    # RecBole tells Ray the test metrics alone, which Ray refuses where it selects by others, and without Ray it is
    # answered with a traceback. What is returned is a report too, and holds them all.
    class Silent:
        report = staticmethod(lambda **_: None)

    before, host.tune = host.tune, Silent
    try:
        yield
    finally:
        host.tune = before

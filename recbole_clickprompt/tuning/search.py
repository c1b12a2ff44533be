"""RecBole's HyperTuning over trials that may fail or may have been run before."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from recbole.trainer.hyper_tuning import HyperTuning, exhaustive_search

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.tuning.space import Draw
from recbole_clickprompt.tuning.trials import Trials

if TYPE_CHECKING:
    from hyperopt import Trials as HyperoptTrials

__all__ = ["Search"]


class Search(HyperTuning):
    """A search whose trials hyperopt draws as RecBole configures it, depending on ``seed`` only.

    A repeated search draws the same trials, because it uses the recorded scores, from which TPE learns.

    Args:
        trials: Runs and records the trials.
        space: The settings to draw.
        algorithm: ``exhaustive``, ``random`` or ``bayes``.
        max_evals: Maximum number of trials; an exhaustive search runs every combination.
        early_stop: Stop after this many trials without an improvement; None: never.
        seed: Seed of the search.

    Raises:
        SettingError: hyperopt is not installed.
    """

    def __init__(
        self,
        trials: Trials,
        space: list[Draw],
        *,
        algorithm: str,
        max_evals: int,
        early_stop: int | None,
        seed: int,
    ) -> None:
        try:
            nodes = {draw.name: draw.hyperopt() for draw in space}
        except ImportError as error:
            raise SettingError("tuning needs hyperopt: pip install 'recbole-clickprompt[tune]'") from error
        super().__init__(None, space=nodes, algo=algorithm, max_evals=max_evals)
        if algorithm == "exhaustive":
            # RecBole draws until it finds a new combination, and gives up after a thousand known ones
            self.algo = partial(exhaustive_search, nbMaxSucessiveFailures=1000 * self.max_evals)
        self._trials, self._space, self._seed = trials, space, seed
        self.early_stop_fn = _stop_after(early_stop)

    def trial(self, params: dict[str, Any]) -> dict[str, Any]:
        """Runs one trial for hyperopt, and reports whether it failed."""
        import hyperopt

        loss = self._trials.run({draw.name: draw.value(params[draw.name]) for draw in self._space})
        status = hyperopt.STATUS_OK if math.isfinite(loss) else hyperopt.STATUS_FAIL
        return {"loss": loss, "status": status}

    def run(self) -> None:
        """Runs the whole search; if every trial fails, ``trials.best`` raises the error."""
        from hyperopt import fmin
        from hyperopt.exceptions import AllTrialsFailed

        with _search_seed(self._seed), suppress(AllTrialsFailed):
            fmin(  # as in RecBole's `run`, which always shows a progress bar
                self.trial, self.space, algo=self.algo, max_evals=self.max_evals, early_stop_fn=self.early_stop_fn,
                show_progressbar=sys.stdout.isatty(),
            )  # fmt: skip


def _stop_after(patience: int | None) -> Callable[..., tuple[bool, list[Any]]]:
    # hyperopt's version stops if the first trial fails, because no loss is a percentage below infinity
    def stop(trials: HyperoptTrials, best: float = math.inf, since: int = 0) -> tuple[bool, list[Any]]:
        loss = trials.trials[-1]["result"]["loss"]
        best, since = (loss, 0) if loss < best else (best, since + 1)
        return patience is not None and since >= patience, [best, since]

    return stop


@contextmanager
def _search_seed(seed: int) -> Iterator[None]:
    # RecBole calls hyperopt without a random state; hyperopt then reads this variable
    before = os.environ.get("HYPEROPT_FMIN_SEED")
    os.environ["HYPEROPT_FMIN_SEED"] = str(seed)
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYPEROPT_FMIN_SEED"]
        else:
            os.environ["HYPEROPT_FMIN_SEED"] = before

"""Times the predictions of several restored runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.comparison import check_same_rows
from recbole_clickprompt.evaluation.latency import summarize_times, time_interleaved

if TYPE_CHECKING:
    import torch
    from recbole.data.interaction import Interaction

    from recbole_clickprompt.host.restore import Restored
    from recbole_clickprompt.trainer.protocols import CTRModel

__all__ = ["PredictionTimer"]


class PredictionTimer:
    """Collects runs, then times them in turn on the same batches of test rows.

    All models have to be in memory at once, because their turns alternate. Of each run only the model and its
    batches are kept.

    Args:
        device: Where models and batches are.
        batch_size: Rows of a batch.
        batches: Maximum number of different batches.
        rounds: How often each batch is timed.
    """

    def __init__(self, device: torch.device, *, batch_size: int = 128, batches: int = 20, rounds: int = 5) -> None:
        self.device, self.batch_size, self.batches, self.rounds = device, batch_size, batches, rounds
        self._calls: dict[str, Callable[[int], torch.Tensor]] = {}
        self._rows: dict[str, pd.DataFrame] = {}  # of the first run, with which the others are compared

    def add(self, name: str, run: Restored) -> None:
        """Keeps what the timing of a run needs.

        Raises:
            DataError: There are fewer test rows than one batch holds, or they are not those of the other runs.
        """
        from recbole_clickprompt.trainer.predictions import row_keys

        dataset, size = run.test_data._dataset, self.batch_size
        count = min(self.batches, len(dataset) // size)
        if not count:
            raise DataError(
                f"{name} has {len(dataset)} test rows, fewer than one batch of {size}; recbole-cp latency "
                "--batch-size=N times smaller ones"
            )
        parts = [dataset[number * size : (number + 1) * size].to(self.device) for number in range(count)]
        self.add_batches(name, run.model, parts, row_keys(dataset), enable_amp=run.config["enable_amp"])

    def add_batches(
        self, name: str, model: CTRModel, parts: Sequence[Interaction], keys: pd.DataFrame, *, enable_amp: bool
    ) -> None:
        """Keeps a model and batches, which are on the device.

        Args:
            name: Of the model.
            model: On the device, in evaluation mode.
            parts: Batches of ``batch_size`` rows.
            keys: What identifies the rows.
            enable_amp: Compute in bf16.

        Raises:
            DataError: The rows are not those of the other models.
        """
        from recbole_clickprompt.trainer.stage import autocast

        check_same_rows({**self._rows, name: keys})
        self._rows = self._rows or {name: keys}

        def predict(number: int) -> torch.Tensor:
            with autocast(self.device, enable_amp):
                return model.predict(parts[number])

        self._calls[name], self.batches = predict, len(parts)

    def measure(self, baseline: str) -> tuple[pd.DataFrame, str]:
        """Times all runs.

        Args:
            baseline: The run whose median is the denominator of the ratios.

        Returns:
            ``summarize_times``, one row per run in the order they were added; and how it was measured, in words.
        """
        import torch

        on_gpu = self.device.type == "cuda"
        wait = torch.cuda.synchronize if on_gpu else (lambda: None)
        with torch.inference_mode():
            times = time_interleaved(self._calls, batches=self.batches, rounds=self.rounds, wait=wait)
        on_cpu = f"CPU, threads: {torch.get_num_threads()}"
        hardware = torch.cuda.get_device_name(self.device) if on_gpu else on_cpu
        how = f"{self.batches} batches of {self.batch_size} rows, {self.rounds} rounds, {hardware}"
        table = summarize_times(times, baseline=baseline).set_index("run")
        return table.loc[list(self._calls)].reset_index(), how

"""Times the predictions of models that encode texts, by the share of texts whose vectors are cached."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    import torch

    from recbole_clickprompt.host.restore import Restored

__all__ = ["HitRateTimer", "markdown", "parse_rates"]

_BATCHES = 5  # encoding all texts of a batch takes long


def parse_rates(text: str) -> list[float]:
    """Hit rates, such as ``0,0.5,1``.

    Raises:
        SettingError: One is not a number from 0 to 1.
    """
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(0 <= rate <= 1 for rate in rates):
        raise SettingError(f"--hit-rates must be numbers from 0 to 1, separated by commas, got {text!r}")
    return list(dict.fromkeys(rates))


class _Batch(NamedTuple):
    """Rows of items that training never saw, on the device, and a text for each, ``(B,)``, all different."""

    rows: Any
    texts: list[str]
    vectors: np.ndarray  # of the texts, (B, A)


class HitRateTimer:
    """Times each run whose model encodes the texts of items, with caches that hold the vectors of a share of them.

    A timed call looks the vectors of B different items up, encodes the texts of those that are not cached, and
    predicts. Users are known, and items have the features of known ones.

    Args:
        device: Where models and batches are.
        rates: Shares of the texts that are cached.
        batch_size: B.
        batches: Maximum number of different batches, of which at most 5 are used.
        rounds: How often each batch is timed at each rate.
    """

    def __init__(
        self, device: torch.device, *, rates: Sequence[float], batch_size: int, batches: int, rounds: int
    ) -> None:
        self.device, self.rates, self.batch_size = device, list(rates), batch_size
        self.batches, self.rounds = min(batches, _BATCHES), rounds
        self._lines: list[dict[str, Any]] = []

    def add(self, name: str, run: Restored) -> None:
        """Times a run; does nothing if its model does not encode texts of items."""
        from recbole_clickprompt.serving.vector_cache import VectorCache
        from recbole_clickprompt.trainer.text_vectors import encoded_levels

        if "item" not in encoded_levels(run.model):
            return
        cache = VectorCache(run.model)
        batches = self._batches(run, cache)
        call = _caller(run, cache, self.device)
        random = np.random.default_rng(2020)
        for rate in self.rates:  # warms up
            call(batches[0], rate, random)
        for _ in range(self.rounds):
            for number in random.permutation(len(batches)):
                for rate in random.permutation(self.rates):
                    ms, encoded = call(batches[number], rate, random)
                    self._lines.append({"run": name, "hit_rate": float(rate), "ms": ms, "encoded": encoded})

    def _batches(self, run: Restored, cache: Any) -> list[_Batch]:
        from recbole_clickprompt.text.descriptions import descriptions

        dataset, size = run.test_data._dataset, self.batch_size
        texts, batches = descriptions(dataset, "item"), []
        for start in range(0, min(self.batches, len(dataset) // size) * size, size):
            rows = dataset[start : start + size]
            ids = rows[dataset.iid_field].tolist()
            new = [f"{texts[item]} Copy {number}." for number, item in enumerate(ids, start)]
            rows[dataset.iid_field] = rows[dataset.iid_field] * 0
            batches.append(_Batch(rows.to(self.device), new, cache.get("item", new)))
        return batches

    def measure(self) -> pd.DataFrame:
        """Columns ``run``, ``hit_rate``, ``timed`` (calls), ``p50_ms``, ``p95_ms``, ``encoded`` (texts a call)."""
        if not self._lines:
            return pd.DataFrame(columns=["run", "hit_rate", "timed", "p50_ms", "p95_ms", "encoded"])
        groups = pd.DataFrame(self._lines).groupby(["run", "hit_rate"], sort=False)
        table = groups.agg(
            timed=("ms", "size"), p50_ms=("ms", "median"),
            p95_ms=("ms", lambda ms: ms.quantile(0.95)), encoded=("encoded", "mean"),
        )  # fmt: skip
        return table.reset_index().sort_values(["run", "hit_rate"], ignore_index=True)


def _caller(run: Restored, cache: Any, device: torch.device) -> Callable[..., tuple[float, int]]:
    """A function of a batch, a hit rate and a random generator that returns milliseconds and encoded texts."""
    import torch

    from recbole_clickprompt.trainer.stage import autocast
    from recbole_clickprompt.trainer.text_vectors import vector_column

    column = vector_column("item")

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    @torch.no_grad()
    def call(batch: _Batch, rate: float, random: np.random.Generator) -> tuple[float, int]:
        cached = random.permutation(len(batch.texts))[: round(rate * len(batch.texts))]
        cache.clear()
        cache.put("item", [batch.texts[place] for place in cached], batch.vectors[cached])
        before = cache.encoded
        wait()
        start = time.perf_counter()
        vectors = torch.from_numpy(cache.get("item", batch.texts)).to(device)
        batch.rows.interaction[column] = vectors
        with autocast(device, run.config["enable_amp"]):
            run.model.predict(batch.rows)
        wait()
        return 1000 * (time.perf_counter() - start), cache.encoded - before

    return call


def markdown(table: pd.DataFrame, *, batch_size: int) -> str:
    """The result of ``HitRateTimer.measure`` as a Markdown table."""
    from recbole_clickprompt.evaluation.tables import markdown_table, number

    header = ["run", "hit rate", f"p50, ms per {batch_size} unseen items", "p95, ms", "texts encoded"]
    rows = [
        [
            line["run"], f"{line['hit_rate']:g}", number(line["p50_ms"], ".3f"), number(line["p95_ms"], ".3f"),
            number(line["encoded"], ".0f"),
        ]
        for line in table.to_dict("records")
    ]  # fmt: skip
    return markdown_table(header, rows)

import math

import pandas as pd
import pytest

from recbole_clickprompt.evaluation import latency
from recbole_clickprompt.evaluation.latency import summarize_times, time_interleaved


def test_each_timed_call_follows_an_untimed_one_of_its_run(monkeypatch):
    clock, log = [0.0], []
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])

    def run(name, seconds):
        def call(batch):
            log.append((name, batch))
            clock[0] += seconds * (batch + 1)

        return call

    calls = {"slow": run("slow", 0.003), "quick": run("quick", 0.001)}
    times = time_interleaved(calls, batches=2, rounds=3, seed=1)
    # every call comes twice: on the batch before, untimed, and on the batch
    assert [(name, batch) for name, batch in log[1::2]] == list(zip(times["run"], times["batch"], strict=True))
    assert all(a == c and b == (d - 1) % 2 for (a, b), (c, d) in zip(log[::2], log[1::2], strict=True))
    found = times.groupby(["run", "batch"])["ms"].agg(["count", "min", "max"])
    for name, ms in (("slow", 3), ("quick", 1)):
        for batch in (0, 1):
            count, *ends = found.loc[(name, batch)]
            assert count == 3
            assert ends == pytest.approx([ms * (batch + 1)] * 2)
    first = times["run"].tolist()[::2]
    assert {"slow", "quick"} == set(first)  # neither always goes first


def test_medians_percentiles_and_the_ratio_to_the_baseline():
    quick, slow = [1.0, 2.0, 3.0, 4.0, 101.0], [2.0, 4.0, 6.0, 8.0, 202.0]
    times = pd.DataFrame(
        [
            (run, 0, batch, ms)
            for run, all_ms in (("quick", quick), ("slow", slow))
            for batch, ms in enumerate(all_ms)
        ],
        columns=["run", "round", "batch", "ms"],
    )
    table = summarize_times(times, baseline="quick").set_index("run")
    assert table.loc["quick", ["timed", "median_ms", "p95_ms"]].tolist() == pytest.approx([5, 3.0, 4 + 0.8 * 97])
    # a busy turn is busy for both: the ratio has no spread
    assert table.loc["slow", ["ratio", "ratio_low", "ratio_high"]].tolist() == pytest.approx([2.0, 2.0, 2.0])
    assert math.isnan(table.loc["quick", "ratio"])

"""The table, by hand."""

import json
from pathlib import Path

import pandas as pd

from benchmarks.stages.job import Figure, Job
from benchmarks.stages.table import markdown, write

PLAIN = Figure("pamlm", 256, "plain reference", 17.04, 1.0, 5.5, 0.47, 11400.4, 1.0)
OURS = Figure("pamlm", 256, "ours bf16", 1234.5, 4.395, 3.61, 0.5949, 5700.2, 0.5)


def test_figures_stand_beside_their_targets_in_the_digits_shown():
    header, _, plain, ours = markdown([PLAIN, OURS]).splitlines()
    assert header == (
        "| stage | batch | contender | rows/s | ratio | memory, MB | of first | GFLOP per row | of peak | target |"
    )
    assert plain == "| pamlm | 256 | plain reference | 17.0 | 1.00x | 11,400 | 1.00 | 5.5 | 47% |  |"
    assert ours == (
        "| pamlm | 256 | ours bf16 | 1,234 | 4.39x | 5,700 | 0.50 | 3.61 | 59% | "
        "4.40x ratio: missed, 60% of peak would reach it, 0.50 of memory: met, 60% of peak: missed |"
    )


def test_memory_that_was_not_measured_is_neither_met_nor_missed():
    last = markdown([Figure("pamlm", 256, "ours bf16", 80.0, 4.4, 3.61, 0.6)]).splitlines()[-1]
    assert last == (
        "| pamlm | 256 | ours bf16 | 80.0 | 4.40x |  |  | 3.61 | 60% | "
        "4.40x ratio: met, 0.50 of memory: not measured, 60% of peak: met |"
    )


def test_files_hold_all_figures():
    write(Path("results/b.json"), [PLAIN, OURS], {"date": "2026-01-01"})
    told = json.loads(Path("results/b.json").read_text())
    assert told["date"] == "2026-01-01"
    assert Figure(**told["figures"][1]) == OURS
    write(Path("results/b.csv"), [PLAIN, OURS], {})
    assert pd.read_csv("results/b.csv")["rows_per_s"].tolist() == [17.04, 1234.5]


def test_a_job_has_a_cell_for_each_stage_and_batch():
    job = Job(stages=["backbone", "pamlm"], batches=[64, 256], backbone_batches=[2048])
    assert job.cells() == [("pamlm", 64), ("pamlm", 256), ("backbone", 2048)]

"""Losses over seeds, by hand and end to end."""

from benchmarks.stages.curves import curves_markdown, train_curves
from benchmarks.stages.job import Job


def test_a_distance_is_held_to_the_spread_over_seeds():
    losses = {"pamlm": {"plain reference": [1.0, 3.0], "ours float32": [2.0, 2.2], "ours bf16": [2.5, 2.7]}}
    assert curves_markdown(losses).splitlines()[2:] == [
        "| pamlm | plain reference | 2.0000 ± 1.4142 | -0.1000 | yes |",
        "| pamlm | ours float32 | 2.1000 ± 0.1414 | +0.0000 |  |",
        "| pamlm | ours bf16 | 2.6000 ± 0.1414 | +0.5000 | no |",
    ]


def test_contenders_of_a_seed_learn_alike_and_seeds_differ(small):
    job = Job(dataset="tiny", settings=small, stages=["finetune", "backbone", "inference"], batches=[32],
              backbone_batches=[64], epoch_rows=640)  # fmt: skip
    told = []
    losses = train_curves(job, 4, [1, 2], told.append)
    assert list(losses) == ["finetune", "backbone"]
    assert len(told) == 2 * (3 + 4)
    ours, bf16 = losses["finetune"]["ours float32"], losses["finetune"]["ours bf16"]
    assert all(abs(a - b) < 0.02 for a, b in zip(ours, bf16, strict=True))
    assert abs(ours[0] - ours[1]) > 1e-4
    plain, own = losses["backbone"]["RecBole's trainer, our class"], losses["backbone"]["ours float32"]
    assert all(abs(a - b) < 1e-4 for a, b in zip(plain, own, strict=True))

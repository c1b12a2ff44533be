"""Scaling tables, by hand and end to end."""

from pathlib import Path

from benchmarks.stages import scaling
from benchmarks.stages.job import Job
from benchmarks.stages.point import measure_point
from benchmarks.stages.scaling import Axis, Point, axes, scaling_markdown


def test_growth_is_the_power_of_the_value():
    points = [Point(value, Job(), "pamlm", 64, "ours bf16") for value in (10, 20, 80)]
    axis = Axis("layers", points, {"ms_per_row": "ms per row", "mb": "memory, MB"})
    measured = [{"ms_per_row": ms, "mb": mb} for ms, mb in ((3.0, 50.04), (6.0, 1234.5), (6.0, 0.1))]
    assert scaling_markdown(axis, measured).splitlines() == [
        "| layers | ms per row | memory, MB | growth of ms per row |",
        "| --- | --- | --- | --- |",
        "| 10 | 3 | 50 |  |",
        "| 20 | 6 | 1,234 | 1.00 |",  # twice the time for twice the value
        "| 80 | 6 | 0.1 | 0.00 |",
    ]


def test_a_measured_value_can_stand_for_the_one_asked_for():
    point = Point(0, Job(), "pamlm", 64, "ours bf16")
    axis = Axis("text length", [point], {"ms_per_row": "ms"}, value="tokens_per_row")
    assert scaling_markdown(axis, [{"ms_per_row": 1.0, "tokens_per_row": 46.7}]).splitlines()[2] == "| 47 | 1 |  |"


def test_text_grows_by_the_words_of_a_field(small, monkeypatch):
    monkeypatch.setattr(scaling, "write_synthetic", lambda *_, **__: {})
    job = Job(dataset="tiny", settings=small)
    text = axes(job, Path("data"), quick=False)[0]
    assert [point.value for point in text.points] == [0, 2, 6, 14]
    fields = text.points[1].job.settings["text_fields"]
    assert fields["genre"] == "genre" + " of the film that is here" * 8
    assert list(fields)[-1] == "genre"
    assert job.settings == small


def test_every_axis_can_be_measured(small):
    job = Job(dataset="tiny", settings=small, repeats=1, threads=1, epoch_rows=256)
    found = axes(job, Path("data"), quick=True)
    assert [axis.name.split()[0] for axis in found] == ["text", "prompts", "layers", "batch", "ids", "rows"]
    for axis in (found[0], found[4]):
        (point,) = axis.points
        measured = measure_point(point.job, point.stage, point.batch, point.contender)
        assert measured["ms_per_row"] > 0
        assert measured["tokens_per_row"] > 5
        assert measured["tokens_mb"] > 0
        assert set(axis.columns) <= set(measured)

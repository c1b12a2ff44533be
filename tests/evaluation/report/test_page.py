"""The page is whole, says what the runs say, and shows every text as it was written."""

import html
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import pandas as pd
import plotly.graph_objects as go
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.report import style
from recbole_clickprompt.evaluation.report.build import Extras, build_report
from recbole_clickprompt.evaluation.run_tables import write_predictions
from tests.evaluation.report.conftest import EVIL, FINETUNE, write_run

VOID = {"meta", "link", "path", "rect", "circle"}
FIGURES = 11  # 2 of metrics, 4 curves, long tail, latency, 2 of calibration, attention


class Page(HTMLParser):
    """Its tags and what is in them; unbalanced tags fail."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.scripts, self.cells = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attributes), ""))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data

    def rows_of(self, name):
        """The cells behind each row header of that name, up to the next six."""
        return [self.cells[i + 1 : i + 7] for i, cell in enumerate(self.cells) if cell == name]

    def figures(self):
        found = [(a["id"], text) for a, text in self.scripts if a.get("type") == "application/json"]
        return {name: json.loads(text) for name, text in found}


@pytest.fixture
def read(page):
    return Page(page)


def test_tags_are_balanced_and_every_reference_has_its_target(read):
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        for name in ("aria-labelledby", "data-figure"):
            assert name not in attributes or attributes[name] in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    headings = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_nothing_is_asked_for_from_elsewhere(read):
    for _, attributes in read.tags:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:"))
    policy = next(a["content"] for tag, a in read.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    assert "'unsafe-inline'" not in policy.split("script-src")[1]


def test_no_text_of_a_user_becomes_a_tag(page, read):
    # the figures' data, plotly and the script that draws
    assert sum(tag == "script" for tag, _ in read.tags) == FIGURES + 2
    assert not any(tag in ("b", "img") for tag, _ in read.tags)
    assert page.count("window.harm = 1</script>") == 0
    assert EVIL in read.cells  # as it was written
    assert '{"r": 8, "</script>": ["<!--", "<script>"]}' in read.cells


def test_every_figure_is_one_that_plotly_takes_and_has_data(read):
    figures = read.figures()
    assert len(figures) == FIGURES
    for figure in figures.values():
        drawn = go.Figure(figure)
        assert len(drawn.data) >= 1
        assert all(trace.name is None or "<" not in trace.name for trace in drawn.data)
    assert figures["learning-1-figure"]["data"][0]["y"] == [5.5, 2.25]
    assert figures["learning-3-figure"]["data"][1]["x"] == [1, 2]
    assert figures["attention-1-figure"]["data"][0]["z"] == [[0.75, 0.25], [0.5, 0.5]]


def test_a_run_has_its_colour_in_every_figure(read):
    (pretrained,) = read.figures()["learning-1-figure"]["data"]  # of the second run alone
    assert pretrained["line"]["color"] == "var(--series-2)"
    assert [t["marker"]["color"] for t in read.figures()["cost-1-figure"]["data"]] == [
        "var(--series-1)",
        "var(--series-2)",
    ]


def test_the_legend_of_the_times_leaves_out_runs_without_one(runs):
    latency = pd.DataFrame({"run": [EVIL], "median_ms": [30.0], "p95_ms": [33.0]})
    text = build_report(runs, samples=2, extras=Extras(latency=latency))
    legend = text[text.index('id="cost"') :].split("</ul>")[0]
    assert [html.unescape(name) for name in re.findall("<span>(.*?)</span></li>", legend)] == [EVIL]


def test_thirty_six_runs_have_different_markers():
    assert len({(style.color(number), style.symbol(number)) for number in range(36)}) == 36


def test_metrics_are_those_of_the_predictions(read):
    plain, evil = read.rows_of("plain")[0], read.rows_of(EVIL)[0]
    # positives .9 .8 .7 .2 above negatives .1 .3 .6 .15: 4 + 4 + 4 + 2 of 16 pairs
    assert plain[0].startswith("0.8750 [")
    assert plain[2:4] == ["", ""]
    assert evil[0] == "1.0000 [1.0000, 1.0000]"
    assert evil[2] == "+14.29 %"  # 1 / 0.875


def test_settings_that_differ_are_set_apart(read):
    first = read.cells.index("setting")
    assert read.cells[first : first + 12] == [
        "setting", "plain", EVIL,
        "nested", "-", '{"r": 8, "</script>": ["<!--", "<script>"]}',
        "note", "-", EVIL,
        "train_stage", "finetune", "all",
    ]  # fmt: skip
    assert read.cells.count("embedding_size") == 2  # among all settings of each run


def test_commands_can_be_pasted_into_a_shell(page):
    command = "recbole-cp run \\\n  --model=DNN \\\n  &#39;--text_fields={user_id: the user}&#39;"
    assert f">{command}</pre>" in page


def test_a_damaged_history_is_drawn_as_far_as_it_can_be_read(runs, caplog):
    whole = build_report(runs, samples=2)
    file = runs["plain"].folder / "history.jsonl"
    file.write_bytes(file.read_bytes() + b'{"stage": "finetune", "epoch": 2, "valid')
    assert build_report(runs, samples=2) == whole
    assert caplog.messages == [f"{file}: 1 of 3 lines is damaged or repeats an epoch, and is left out"]
    file.write_bytes(b"\xff\xfe\n")
    assert build_report(runs, samples=2) != whole


def test_what_was_not_computed_says_how_to_get_it(runs):
    page = build_report(runs, samples=20)
    assert "Computed by recbole-cp report --latency" in page
    assert "Computed by recbole-cp report --attention" in page


def test_runs_on_different_rows_are_shown_and_not_compared(runs, tmp_path):
    other = write_run(
        tmp_path / "other", scores=[0.5] * 8, epochs=FINETUNE, model="DNN", train_stage="finetune"
    )  # fmt: skip
    write_predictions(other.folder, other.predictions().assign(user="z"))
    text = build_report({"plain": runs["plain"], "other": other}, samples=20)
    read = Page(text)
    assert "relative AUC" not in read.cells
    assert read.rows_of("other")[0][0].startswith("0.5000 [")
    assert text.count("plain and other were tested on different rows (user of row 0: a and z)") == 2


def test_one_run_alone_has_a_page(runs):
    read = Page(build_report({"plain": runs["plain"]}, samples=20))
    assert read.rows_of("plain")[0][0].startswith("0.8750 [")
    assert "relative AUC" not in read.cells


def test_a_run_without_predictions_is_an_error_that_says_so(runs):
    (runs["plain"].folder / "predictions.parquet").unlink()
    with pytest.raises(DataError, match="has no predictions.parquet"):
        build_report(runs, samples=20)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_far_enough_apart_to_be_read(scheme):
    css = (files("recbole_clickprompt.evaluation.report") / "style.css").read_text()
    block = css.split(":root {")[1 if scheme == "light" else 2].split("}")[0]
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))
    for ground in ("surface", "page"):  # WCAG 2: 4.5 for text, 3 for graphics
        assert all(contrast(colours[name], colours[ground]) >= 4.5 for name in ("text", "muted", "accent"))
        series = [name for name in colours if name.startswith("series-")]
        assert len(series) == 6
        assert all(contrast(colours[name], colours[ground]) >= 3 for name in series)
    assert all(contrast(colours["text"], colours[f"scale-{end}"]) >= 4.5 for end in ("low", "high"))

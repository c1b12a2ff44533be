"""The page in a real browser: drawn, quiet, and readable at both widths in both colour schemes."""

import pytest

from tests.browser import BROWSER, Browser
from tests.evaluation.report.conftest import EVIL

pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason="no headless Chromium: apt-get install chromium-headless-shell, or set CHROMIUM to its path",
)

FIGURES = 11
# Traces of each figure whose points, bars or cells have a size on the screen
DRAWN = """[...document.querySelectorAll(".plot")].map(plot =>
  [...plot.querySelectorAll(".scatterlayer .trace, .barlayer .trace, .heatmaplayer .hm")]
    .filter(trace => trace.getBoundingClientRect().width > 1).length)"""
# Texts of a figure that stick out of its box
CUT = """[...document.querySelectorAll(".plot")].flatMap(plot => {
  const box = plot.getBoundingClientRect();
  return [...plot.querySelectorAll("text")].filter(text => {
    const own = text.getBoundingClientRect();
    return own.width && (own.left < box.left - 1 || own.right > box.right + 1);
  }).map(text => text.textContent); })"""
INK = 'getComputedStyle(document.querySelector(".plot .xtick text")).fill'
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def file(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_is_drawn_and_nothing_complains(browser, file, width, dark):
    browser.open(file, width=width, dark=dark)
    assert browser.problems == []
    asked = [address for address in browser.requests if not address.startswith(("data:", "blob:"))]
    assert asked == [file.as_uri()]
    drawn = browser.evaluate(DRAWN)
    assert len(drawn) == FIGURES
    assert all(count >= 1 for count in drawn)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(CUT) == []
    assert browser.evaluate("window.harm === undefined")
    assert browser.evaluate(GROUND) == ("rgb(16, 21, 28)" if dark else "rgb(246, 247, 249)")
    assert browser.evaluate(INK) == ("rgb(231, 236, 242)" if dark else "rgb(27, 36, 48)")


def test_names_stand_as_written_folds_open_and_figures_follow_the_colour_scheme(browser, file):
    browser.open(file, width=375, dark=False)
    label = """[...document.querySelectorAll(".plot .ytick text")].map(text => text.textContent)"""
    assert f"{EVIL[:19]}…" in browser.evaluate(label)
    assert browser.evaluate('document.querySelectorAll(".key li")[1].textContent.trim()') == EVIL
    # folded and wide tables are reached by keyboard
    reach = """[...document.querySelectorAll("summary, .scroll")].every(e => { e.focus();
      return document.activeElement === e || !e.checkVisibility(); })"""
    assert browser.evaluate(reach)
    opened = """(() => { const fold = document.querySelector("details"); fold.querySelector("summary").click();
      return fold.open && fold.querySelector("table").getBoundingClientRect().height > 20; })()"""
    assert browser.evaluate(opened)
    before = browser.evaluate(INK)
    browser.prefer(dark=True)
    browser.evaluate("new Promise(done => setTimeout(done, 300))")
    assert (before, browser.evaluate(INK)) == ("rgb(27, 36, 48)", "rgb(231, 236, 242)")
    assert browser.problems == []


def test_the_check_sees_a_page_that_is_broken(browser, file):
    """A page whose script was tampered with is refused by its own policy, and that is seen."""
    file.write_text(file.read_text().replace('"use strict";', '"use strict"; 1;'))
    browser.open(file, width=1280, dark=False)
    assert any("Content Security Policy" in problem for problem in browser.problems)
    assert browser.evaluate(DRAWN) == [0] * FIGURES

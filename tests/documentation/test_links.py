"""The README is short, every link resolves, and the site builds and needs no network."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.browser import BROWSER, Browser
from tests.documentation.markdown import PAGES, ROOT, anchors, inline_code, links
from tests.server import serve_folder

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def build(folder, *flags):
    """Runs mkdocs as `make docs` does, with ``folder`` in the place of the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", *flags],
        cwd=folder, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, "--site-dir", str(folder))
    assert built.returncode == 0, built.stderr
    return folder


def test_the_readme_has_at_most_160_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_resolves(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_path_named_exists(page):
    for code in inline_code(page):
        if re.fullmatch(r"(recbole_clickprompt|tests|props|benchmarks|docs)/[\w./-]+", code):
            assert (ROOT / code).exists(), code


def test_the_site_builds_in_strict_mode_with_every_page(site):
    built = {file.stem for file in site.glob("*.html")} - {"404"}
    assert built == {file.stem for file in (ROOT / "docs").glob("*.md")}


def test_broken_links_and_anchors_fail_the_build(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    broken = ["nowhere.md", "training.md#nowhere", "../README.md"]
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.writelines(f"\n[broken]({link})\n" for link in broken)
    built = build(tmp_path)
    assert built.returncode != 0
    for link in broken:
        assert f"contains a link '{link}'" in built.stderr


def test_the_built_pages_load_nothing_from_elsewhere(site):
    for file in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = file.read_text(encoding="utf-8")
        loads = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?([^\s\">]+)", text)
        loads += re.findall(r"<link(?![^>]*rel=\"?canonical)[^>]*\shref=\"?([^\s\">]+)", text)
        loads += re.findall(r"url\(\"?([^)\"]+)", text)
        assert [load for load in loads if re.match(r"(https?:)?//", load)] == [], file


@pytest.fixture
def address(site):
    with serve_folder(site) as server:
        yield server.url


@pytest.mark.skipif(BROWSER is None, reason="no headless Chromium, for pages as they are shown")
def test_pages_fit_a_phone_and_ask_only_for_their_own_files(site, address, tmp_path):
    browser = Browser(tmp_path)
    try:
        for file in sorted(site.glob("*.html")):
            browser.open(f"{address}/{file.name}", width=375, dark=True)
            assert browser.problems == [], file.name
            assert browser.evaluate("document.documentElement.scrollWidth") == 375, file.name
            elsewhere = [
                request for request in browser.requests if not request.startswith((address, "data:", "blob:"))
            ]
            assert elsewhere == [], file.name
    finally:
        browser.close()

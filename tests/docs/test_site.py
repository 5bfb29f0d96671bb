"""The site that Sphinx builds of the pages: without a warning, and without anything that a browser would fetch."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from pages import DOCS, PAGES
from privileges import skip_or_fail
from programs import environment

#: What a browser loads by itself; links that a reader may click are no part of it.
LOADED = re.compile(r"<(?:link|script|img|iframe|source|video|object|embed)\b[^>]*?(?:https?:)?//[^>]*>")
FETCHED_BY_STYLES = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)\s]*")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    missing = [name for name in ("sphinx", "myst_parser", "furo") if find_spec(name) is None]
    if missing:
        skip_or_fail(f"{', '.join(missing)} are not installed: pip install 'chunkstore[docs]'")
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "-n", "-q", "-b", "html", "-d", str(folder / "doctrees")]
    # A proxy that is not there: whatever is asked of a network fails, and the build with it.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "html")],
        env={**environment(), **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.mark.thorough
def test_every_page_is_built(site):
    for page in PAGES[1:]:
        assert (site / page.relative_to(DOCS)).with_suffix(".html").exists(), page


@pytest.mark.thorough
def test_pages_load_nothing_from_a_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 15
    for page in pages:
        assert LOADED.findall(page.read_text(encoding="utf-8")) == [], page


@pytest.mark.thorough
def test_styles_load_nothing_from_a_network(site):
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert FETCHED_BY_STYLES.findall(sheet.read_text(encoding="utf-8")) == [], sheet


@pytest.mark.parametrize(
    "harmful",
    [
        '<link rel="stylesheet" href="https://fonts.example/a.css">',
        '<script src="//cdn.example/a.js"></script>',
        "<img alt='a' src='http://pictures.example/a.png'>",
    ],
)
def test_what_would_be_loaded_is_noticed(harmful):
    assert LOADED.search(harmful)

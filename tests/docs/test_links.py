"""Links and anchors of the pages lead somewhere; pages of others are not fetched."""

import re

import pytest
from pages import DOCS, PAGES, PROJECT, anchors_of, name_of, parts_of, prose_of

SOURCES = [*PAGES, PROJECT / "CONTRIBUTING.md", PROJECT / "CHANGELOG.md"]
#: `[text](target)` and `![text](target)`; what is written as code is none.
LINK = re.compile(r"\]\(([^)\s]+)\)")
EXTERNAL = re.compile(r"[a-z]+:")


def links_of(page):
    return [target for target in LINK.findall(re.sub(r"`[^`\n]*`", "", prose_of(page))) if not EXTERNAL.match(target)]


@pytest.mark.parametrize("page", SOURCES, ids=name_of)
def test_links_lead_to_files_and_anchors_that_are_there(page):
    for target in links_of(page):
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors_of(linked), target


def test_the_pages_have_links_and_pictures():
    assert len(links_of(PROJECT / "README.md")) >= 10
    assert any(target.endswith(".svg") for target in links_of(PROJECT / "README.md"))


def test_every_page_is_in_a_table_of_contents():
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for part in parts_of(page):
            if not isinstance(part, str) and part.language.startswith("{toctree}"):
                names = [line for line in part.text.splitlines() if line and not line.startswith(":")]
                listed |= {(page.parent / f"{name}.md").resolve() for name in names}
    assert set(PAGES) - {PROJECT / "README.md"} <= listed


def test_headings_make_the_anchors_that_github_makes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# `Store` and *more*\n\n## What's [new](x.md)?\n\n## A: b\n\n```sh\n# no heading\n```\n\n## A b\n")
    assert anchors_of(page) == {"store-and-more", "whats-new", "a-b", "a-b-1"}


@pytest.mark.parametrize("page", [*PAGES, PROJECT / "CONTRIBUTING.md"], ids=name_of)
def test_files_of_the_repository_that_are_named_are_there(page):
    for path in re.findall(r"`((?:chunkstore|tests|examples|benchmarks|docs)/[\w./-]+)`", prose_of(page)):
        assert (PROJECT / path).exists() or path.startswith("docs/_build"), path

"""Every block of the README and of the documentation runs, in the order of its page, and prints what the page says."""

import re
import shutil

import pytest
from pages import DOCS, PAGES, PROJECT, blocks_of, name_of
from privileges import skip_or_fail
from reader import Reader, copy_examples

from chunkstore.testing.system_trace import why_no_trace

BLOCKS = {page: blocks_of(page) for page in PAGES}
LANGUAGES = {"python", "text", "yaml", "sh", "console", "json", "toml"}


def why_left_out(block):
    """Return what this machine lacks for a block; None if it can run."""
    if "system_trace" in block.text:
        return why_no_trace()
    if block.language in {"sh", "console"} and re.search(r"\bjq ", block.text) and shutil.which("jq") is None:
        return "jq is not installed"
    return None


#: What the quick run follows too.
FIRST_READ = {PROJECT / "README.md", DOCS / "start.md"}
FOLLOWED = [pytest.param(page, marks=[] if page in FIRST_READ else pytest.mark.thorough) for page in PAGES]


@pytest.mark.parametrize("page", FOLLOWED, ids=name_of)
def test_what_a_page_shows_is_what_happens(page, tmp_path, programs):
    copy_examples(tmp_path)
    reader = Reader(tmp_path, programs, BLOCKS[page])
    lacking = set()
    for block in BLOCKS[page]:
        if reason := why_left_out(block):
            lacking.add(reason)
            continue
        for shown, happened in reader.obey(block):
            assert happened == shown, block.place
    if lacking:
        skip_or_fail("; ".join(sorted(lacking)))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_language_that_is_tested_here(page):
    assert {block.language for block in BLOCKS[page]} <= LANGUAGES


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 200


def test_most_python_blocks_show_their_output():
    python = [block for blocks in BLOCKS.values() for block in blocks if block.language == "python"]
    assert len(python) >= 5
    assert sum(block.shown is not None for block in python) >= 4


def test_every_page_of_a_task_has_something_that_runs():
    for page in (DOCS / "how-to").glob("*.md"):
        assert {block.language for block in BLOCKS[page]} & {"python", "console"}, page


def test_the_extras_that_pages_name_exist():
    extras = (PROJECT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")[2]
    known = set(re.findall(r"^(\w+) = \[", extras.partition("\n[")[0], re.MULTILINE))
    for page in PAGES:
        for names in re.findall(r"(?:chunkstore|'\.)\[([a-z,]+)\]", page.read_text()):
            assert set(names.split(",")) <= known, (page, names)


def happened(page, folder, programs):
    """Return what a page shows, and what happened, for each of its blocks that show something."""
    blocks = blocks_of(page)
    reader = Reader(folder, programs, blocks)
    return [pair for block in blocks for pair in reader.obey(block)]


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```console\n$ echo 1\n2\n```\n",
        "```console\n$ chunkstore ls\nNo runs in there.\n```\n",
        "```sh\necho 1\n```\n\n```text\n2\n```\n",
        "```sh\nmkdir empty\n```\n\nmakes\n\n```text\nempty\n├── RunLog.json\n```\n",
        "```python\nprint(1)\n```\n\n```text\n…\n2\n```\n",
    ],
)
def test_what_does_not_happen_is_noticed(text, tmp_path, programs):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert any(shown != result for shown, result in happened(page, tmp_path, programs))


def test_a_program_that_a_command_runs_is_only_saved(tmp_path, programs):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n# one.py\nimport sys\n\nprint(sys.argv[1])\n```\n\n```console\n$ python one.py 'a b'\na b\n```\n"
    )
    assert happened(page, tmp_path, programs) == [(["a b"], ["a b"])]

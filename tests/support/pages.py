"""The README and the pages of the documentation: their blocks, in the order in which a reader meets them."""

import re
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parent.parent.parent
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *(path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts)]

_FENCE = re.compile(r"(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r"#{1,6} +(.*)")
_TARGET = re.compile(r"\(([\w.-]+)\)=")


class Block(NamedTuple):
    """A block of code, or of what code prints.

    Attributes:
        place: the page and the line, for messages.
        language: as the fence says.
        text: what is in it.
        shown: the text block that follows at once, which is its output; None without.
    """

    place: str
    language: str
    text: str
    shown: str | None = None

    @property
    def file(self):
        """The name that a first comment gives, `# train.py`; "" without one."""
        found = re.match(r"(?:#!.*\n)?# ([\w./-]+\.\w+)\n", self.text)
        return found[1] if found else ""


def name_of(page):
    """Return how a page is called in messages."""
    return page.relative_to(PROJECT).as_posix() if page.is_relative_to(PROJECT) else page.name


def parts_of(page):
    """Yield a page in order: a `Block`, or a line of its prose."""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        fence = _FENCE.match(line)
        if not fence:
            yield line
            continue
        inside = []
        for _, inner in lines:
            if inner.startswith(fence[1]) and not inner.strip("`~ "):
                break
            inside.append(inner + "\n")
        else:
            raise AssertionError(f"{name_of(page)}:{number}: the block never ends")
        yield Block(f"{name_of(page)}:{number}", fence[2].strip(), "".join(inside))


def blocks_of(page):
    """Return the blocks of a page, each with its output; directives of Sphinx, `{…}`, are none."""
    found = []
    between = []
    for part in parts_of(page):
        if isinstance(part, str):
            between.append(part)
            continue
        follows = found and not "".join(between).strip() and found[-1].language in {"python", "sh"}
        if part.language == "text" and follows and found[-1].shown is None:
            found[-1] = found[-1]._replace(shown=part.text)
        elif not part.language.startswith("{"):
            found.append(part)
        between = []
    return found


def prose_of(page):
    """Return the text of a page without its blocks."""
    return "\n".join(part for part in parts_of(page) if isinstance(part, str))


def anchors_of(page):
    """Return the anchors of a page, as GitHub and MyST make them from its headings."""
    found = set()
    for line in prose_of(page).splitlines():
        if target := _TARGET.fullmatch(line):
            found.add(target[1])
        if heading := _HEADING.match(line):
            plain = re.sub(r"[*`]|\[([^]]*)\]\([^)]*\)", r"\1", heading[1])
            slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            found.add(next(name for name in _numbered(slug) if name not in found))
    return found


def _numbered(slug):
    yield slug
    yield from (f"{slug}-{number}" for number in range(1, 100))

"""The pictures of terminals are what the commands print today, small, and load nothing."""

import importlib.util
import re

import pytest
from pages import DOCS

PICTURES = sorted((DOCS / "pictures").glob("*.svg"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draw the terminals again; a browser is not needed for them."""
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    folder = tmp_path_factory.mktemp("pictures")
    pictures.draw(folder, with_page=False)
    return folder


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_pictures_of_terminals_show_what_is_printed_now(picture, drawn):
    # Only the texts: another version of rich may place them otherwise.
    assert texts_of(picture) == texts_of(drawn / picture.name)


def texts_of(picture):
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))


def test_every_terminal_has_its_picture(drawn):
    assert [path.name for path in PICTURES] == sorted(path.name for path in drawn.iterdir())
    assert all(len(texts_of(picture)) >= 20 for picture in PICTURES)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_pictures_load_nothing(picture):
    text = picture.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"//|@import|@font-face|<script|<image", text)


def test_pictures_are_small():
    for picture in (DOCS / "pictures").iterdir():
        assert picture.stat().st_size < 100_000, picture

"""What the tests of engines share."""

import pytest

import chunkstore


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path, monkeypatch):
    """Work in a folder of its own, and leave the commands that engines need on the path."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def store(tmp_path):
    """A store that nothing here asks for a loss of power."""
    return chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "log"), durability="process")

"""Fixtures for tests of moving in."""

import pytest

from maintenance.importing.targets import open_target


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture(params=["chunked-fs", "file-system", "buffered"])
def store(request, tmp_path):
    return open_target(request.param, tmp_path / "target")


@pytest.fixture
def chunked(tmp_path):
    return open_target("chunked-fs", tmp_path / "target")

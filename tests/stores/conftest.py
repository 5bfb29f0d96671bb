"""Fixtures for tests of stores."""

import pytest


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"

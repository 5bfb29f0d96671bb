"""Fixtures for tests of sealed files."""

import pytest

from stores.sealing.sealed_runs import RUN, Folder, opened, record


@pytest.fixture
def folder(logs):
    return Folder(logs / RUN)


@pytest.fixture
def store(logs):
    """A store with a run of all kinds of files, which has not finished."""
    store = opened(logs)
    record(store, opened(logs))
    return store

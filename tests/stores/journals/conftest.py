"""Fixtures for tests of journals."""

import os

import pytest

from stores.journals.journaled_runs import RUN, opened


@pytest.fixture
def store(logs):
    store = opened(logs)
    store.create_run_log(RUN)
    return store


@pytest.fixture
def journals(logs):
    """Return what every journal of the run holds, by its name, in the order in which they were begun."""

    def read():
        names = [name for name in os.listdir(logs / RUN) if name.startswith("Journal-")]
        names.sort(key=lambda name: int(name[: -len(".jsonl")].rpartition("-")[2]))
        return {name: (logs / RUN / name).read_bytes() for name in names}

    return read

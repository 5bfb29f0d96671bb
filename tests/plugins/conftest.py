"""Fixtures for tests of plugins."""

import pytest
import runnable.context

from chunkstore.plugins.runnable import ChunkstoreRunLogStore
from plugins.workbench import Workbench


@pytest.fixture
def workbench(tmp_path, monkeypatch):
    """A folder in which pipelines run, two levels below everything that the test may make."""
    folder = tmp_path / "outer" / "work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return Workbench(folder)


@pytest.fixture(params=["file-system", "chunkstore"])
def any_store(request, tmp_path):
    """runnable's own store, and ours."""
    settings = {"type": request.param, "config": {"log_folder": str(tmp_path / "logs")}}
    return runnable.context.get_service_by_name("run_log_store", settings, None)


@pytest.fixture
def store(tmp_path):
    return ChunkstoreRunLogStore(log_folder=str(tmp_path / "logs"))


@pytest.fixture
def other(tmp_path):
    """As another process sees the runs: objects with other settings own nothing of each other's."""
    return ChunkstoreRunLogStore(log_folder=str(tmp_path / "logs"), lock_timeout=59.0)

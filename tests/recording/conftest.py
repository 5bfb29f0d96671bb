"""What the tests of the recording API share."""

import os
from pathlib import Path

import pytest
from repositories import git

import chunkstore
from chunkstore.recording.identity import git_identity
from chunkstore.recording.previous import forget
from chunkstore.recording.scope import CURRENT_RUN, CURRENT_STEP
from chunkstore.recording.series import _late_flushes


@pytest.fixture(autouse=True)
def _outside_git(tmp_path, monkeypatch):
    """Every test works in a folder of its own that no git repository holds, and leaves no thread or context behind."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    git_identity.cache_clear()
    forget()
    yield
    git_identity.cache_clear()
    forget()
    assert not any(series for _, series in _late_flushes._due), "a step's points outlived it"
    assert (CURRENT_RUN.find(), CURRENT_STEP.find()) == (None, None), "a block was not left"


@pytest.fixture
def store(tmp_path):
    """The main store; nothing here asks for a loss of power."""
    return chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "log"), durability="process")


@pytest.fixture(params=["chunked-fs", "file-system", "buffered"])
def any_store(request, tmp_path):
    """Each of the stores."""
    folder = {} if request.param == "buffered" else {"log_folder": str(tmp_path / "log"), "durability": "process"}
    return chunkstore.open_store(request.param, catalog_folder=str(tmp_path / ".catalog"), **folder)


@pytest.fixture
def calls(tmp_path):
    """A folder in which functions note that they ran, also in other processes: see `work.note`."""
    folder = tmp_path / "calls"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def children():
    """Returns the ids of children that live and did not before; zombies do not, and helpers of pools do not count."""

    def living():
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        state, parent = file.read().rpartition(b")")[2].split()[:2]
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        helper = b"resource_tracker" in file.read()
                except OSError:
                    continue  # gone meanwhile
                if int(parent) == os.getpid() and state != b"Z" and not helper:
                    found.append(int(name))
        return found

    before = set(living())  # those of other tests
    return lambda: [child for child in living() if child not in before]


@pytest.fixture
def repository():
    """A repository with one commit, checked out in the working folder."""
    git("init", "-q")
    Path("code.py").write_text("one")
    git("add", "code.py")
    git("commit", "-q", "-m", "first")
    git("remote", "add", "origin", "https://user:secret@example.org/project.git?token=x")
    return Path.cwd()

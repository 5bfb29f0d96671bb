"""A file system that refuses a call: a run is recorded without it, or `start_run` says what to do."""

import errno
import fcntl
import os

import pytest

from chunkstore.backends.disk import DirectoryBackend
from chunkstore.errors import ChunkstoreError, StoreIOError
from chunkstore.maintenance.checking import verify
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.stores.options import StoreOptions
from chunkstore.testing.faults import ALL_CALLS, FaultySyscalls

REFUSALS = (errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EACCES)
#: Without these no file system is one; what happens without them is told when the run starts.
_LAYOUTS = {
    "files": ChunkedStore,
    "journal": lambda backend: ChunkedStore(backend, StoreOptions(container="journal")),
    "document": DocumentStore,
}


def record(store):
    with store.start_run("run", parameters={"seed": 1}, capture_output=False) as run:
        with run.step("load") as step:
            step.log_metric("rows", 3)
            step.log_metric("loss", 0.5, step=1)
            step.log_metric("loss", 0.25, step=2)
        run.set_parameters({"depth": 3})
        store.update_step_log("run", "load", lambda log: setattr(log, "message", "seen"))


def check(store):
    log = store.get_run_log("run", strict=True)
    assert (log.status, log.parameters) == ("SUCCESS", {"seed": 1, "depth": 3})
    assert (log.steps["load"].user_defined_metrics, log.steps["load"].message) == ({"rows": 3}, "seen")
    assert [point.value for point in log.steps["load"].metric_series["loss"]] == [0.5, 0.25]
    assert list(verify(store)) == []


@pytest.mark.parametrize("durability", ["process", "run", "step"])
@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("name", sorted(ALL_CALLS))
def test_a_call_that_is_refused_is_done_without_or_told_at_the_start(tmp_path, name, layout, durability):
    for code in REFUSALS:
        top = tmp_path / "logs" / str(code)
        syscalls = FaultySyscalls(code, at=1, persistent=True, only={name})
        store = _LAYOUTS[layout](DirectoryBackend(top, durability=durability, syscalls=syscalls))
        refusal = ""
        try:
            store.start_run("probe")
        except ChunkstoreError as error:
            refusal = str(error)
        if refusal:
            assert str(top) in refusal
            continue
        record(store)
        syscalls.heal()
        check(_LAYOUTS[layout](DirectoryBackend(top)))


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("refused", [("link",), ("link", "fdatasync"), ("link", "rename_new"), ("sync",)])
def test_a_run_is_whole_where_the_system_refuses_a_call(tmp_path, monkeypatch, code, refused):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    syscalls = FaultySyscalls(code, at=1, persistent=True, only=set(refused) & set(ALL_CALLS) or {"rename_new"})
    for name in refused:
        if name == "sync":
            _refuse_to_sync_folders(monkeypatch, code)
        elif hasattr(os, name):
            monkeypatch.setattr(os, name, refuse)
    record(ChunkedStore(DirectoryBackend(tmp_path / "logs", syscalls=syscalls)))
    monkeypatch.undo()
    check(ChunkedStore(DirectoryBackend(tmp_path / "logs")))


def _refuse_to_sync_folders(monkeypatch, code):
    fsync = os.fsync

    def refuse(fd):
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(code, os.strerror(code))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", refuse)


def test_that_nothing_can_be_synced_is_told_before_the_run_begins(tmp_path):
    syscalls = FaultySyscalls(errno.EINVAL, at=1, persistent=True, only={"fsync", "syncfs"})
    store = ChunkedStore(DirectoryBackend(tmp_path / "logs", syscalls=syscalls))
    with pytest.raises(StoreIOError, match="durability: process"):
        store.start_run("run")
    assert list(store.list_runs()) == []
    record(ChunkedStore(DirectoryBackend(tmp_path / "logs", durability="process", syscalls=syscalls)))


@pytest.mark.parametrize("code", [*REFUSALS, errno.ENOLCK])
def test_that_nothing_can_be_locked_is_told_before_the_run_begins(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    store = ChunkedStore(DirectoryBackend(tmp_path / "logs"))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreIOError, match=r"(?i)lock.*move log_folder"):
        store.start_run("run")
    with pytest.raises(StoreIOError, match=r"(?i)lock.*move log_folder"):
        store.join_run("run", create=True)
    assert os.listdir(tmp_path / "logs") == []

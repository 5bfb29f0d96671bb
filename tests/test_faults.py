"""Whichever system call fails: the state is the old or the new one, the error says why, and nothing is left behind."""

import errno
import gc
import itertools
import os
import shutil
import tempfile

import pytest

from chunkstore.backends.base import UnreadableFileError
from chunkstore.backends.directory import DirectoryBackend
from chunkstore.errors import ChunkstoreError, RunLogExistsError, StoreAccessError, StoreFullError, StoreIOError
from chunkstore.models import StepLog
from chunkstore.records import MetricPoint
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.faults import ALL_CALLS, WRITING_CALLS, FaultySyscalls

LAYOUTS = {"chunked": ChunkedStore, "document": DocumentStore}
ERRORS = {
    errno.EIO: StoreIOError,
    errno.ENOSPC: StoreFullError,
    errno.EDQUOT: StoreFullError,
    errno.EMFILE: StoreIOError,
    errno.ESTALE: StoreIOError,
    errno.EROFS: StoreAccessError,
}
RUN = "run"


def step(name, **fields):
    return StepLog(name=name, internal_name=name, **fields)


OPERATIONS = {
    "create": lambda store: store.create_run_log("new", tag="t", parameters={"a": 1}),
    "add": lambda store: store.add_step_log(RUN, step("added")),
    "add again": lambda store: store.add_step_log(RUN, step("owned", message="again")),
    "add what another added": lambda store: store.add_step_log(RUN, step("foreign", message="newer")),
    "update own": lambda store: store.update_step_log(RUN, "owned", lambda found: setattr(found, "message", "x")),
    "update": lambda store: store.update_step_log(RUN, "foreign", lambda found: setattr(found, "message", "x")),
    "update run": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS")),
    "set parameters": lambda store: store.set_parameters(RUN, {"b": 2}),
    "set first parameters": lambda store: store.set_parameters(RUN, {"b": 2}, branch="foreign.b"),
    "append": lambda store: store.append_metrics(RUN, "owned", {"more": [MetricPoint(1, 2)]}),
    "delete": lambda store: store.delete_run(RUN),
}
READS = {
    "get run": lambda store: store.get_run_log(RUN),
    "get step": lambda store: store.get_step_log(RUN, "foreign"),
    "get parameters": lambda store: store.get_parameters(RUN),
    "list": lambda store: sorted(summary.run_id for summary in store.list_runs()),
    "sync": lambda store: store.sync(RUN),
}


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield path
    shutil.rmtree(path)


class World:
    """A folder with a run, and a store in it whose system calls can fail."""

    def __init__(self, folder, layout, durability, syscalls):
        self.logs = os.path.join(folder, "parent", "logs")
        shutil.rmtree(os.path.dirname(self.logs), ignore_errors=True)
        self.layout = LAYOUTS[layout]
        healthy = self.healthy()
        healthy.create_run_log(RUN, parameters={"a": 1})
        healthy.add_step_log(RUN, step("foreign"))
        self.syscalls = syscalls
        backend = DirectoryBackend(self.logs, durability=durability, lock_timeout=1, syscalls=syscalls)
        self.store = self.layout(backend)
        self.store.add_step_log(RUN, step("owned"))
        self.store.append_metrics(RUN, "owned", {"m": [MetricPoint(1, 1)]})

    def healthy(self):
        return self.layout(DirectoryBackend(self.logs, lock_timeout=1))

    def state(self):
        store = self.healthy()
        result = {}
        for summary in store.list_runs():
            log = store.get_run_log(summary.run_id, strict=True)
            log.run_config = {}
            result[summary.run_id] = log
        return repr(sorted(result.items()))

    def leftovers(self):
        names = itertools.chain.from_iterable([*folders, *files] for _, folders, files in os.walk(self.logs))
        return [name for name in names if name.startswith((".tmp-", ".deleted-"))]


class Once(FaultySyscalls):
    """Fails at the Nth call from when it is armed."""

    def arm(self, at):
        self.counted = 0
        self.failed.clear()
        self._at = at


def open_descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def check_every_call(folder, layout, durability, operation, **fault):
    """Let each call of an operation fail, the first, the second and so on, until one goes beyond the last."""
    expected = World(folder, layout, durability, Once())
    states = [expected.state()]
    OPERATIONS[operation](expected.store)
    states.append(expected.state())
    del expected
    descriptors = open_descriptors()
    numbers = itertools.count(1)
    while check_one_call(World(folder, layout, durability, Once(**fault)), operation, next(numbers), states, fault):
        pass
    assert next(numbers) > 2 or operation == "delete"
    assert open_descriptors() <= descriptors


def check_one_call(world, operation, number, states, fault):
    """Let one call fail, and look at the state then and after another try; False if there was no such call."""
    before, after = states
    world.syscalls.arm(number)
    error = None
    try:
        OPERATIONS[operation](world.store)
    except ChunkstoreError as raised:
        error = raised
    failed, world.syscalls._at = list(world.syscalls.failed), 0
    state = world.state()
    where = f"call {number}: {failed}: {error!r}"
    if error is None:
        assert state == after, where
    else:
        code = fault["code"]
        unreadable = isinstance(error, UnreadableFileError) and code == errno.EIO
        assert unreadable or (isinstance(error, ERRORS[code]) and error.errno == code), where
        assert state in (before, after), where
    if not {call.name for call in failed} & {"unlink", "rmdir"} and operation != "delete":
        assert world.leftovers() == [], where
    if error is not None and operation not in ("append", "delete"):
        try:
            OPERATIONS[operation](world.store)
        except RunLogExistsError:
            assert operation == "create", where
        assert world.state() == after, where
    if operation != "delete":
        world.healthy().set_parameters(RUN, {"the lock": "is free"})
    return bool(failed)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("durability", ["process", "step"])
@pytest.mark.parametrize("layout", LAYOUTS)
class TestEveryCallOfEveryWrite:
    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.ESTALE], ids=errno.errorcode.get)
    def test_fails_once(self, folder, layout, durability, operation, code):
        check_every_call(folder, layout, durability, operation, code=code)

    def test_fails_after_doing_its_work(self, folder, layout, durability, operation):
        check_every_call(folder, layout, durability, operation, code=errno.EIO, late=True)

    def test_fails_from_then_on_as_on_a_full_disk(self, folder, layout, durability, operation):
        check_every_call(folder, layout, durability, operation, code=errno.ENOSPC, persistent=True, only=WRITING_CALLS)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("code", [errno.EMFILE, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get)
def test_every_open_fails_once_with_what_opens_fail_with(folder, operation, code):
    check_every_call(folder, "chunked", "run", operation, code=code, only=("open", "create", "mkdir"))


@pytest.mark.parametrize("operation", ["add", "add again", "update", "create"])
def test_every_call_fails_where_there_are_no_files_without_names(folder, operation, monkeypatch):
    monkeypatch.setattr("chunkstore.backends.folder.has_unnamed_files", lambda: False)
    check_every_call(folder, "chunked", "step", operation, code=errno.EIO)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_read_is_whole_or_says_what_is_missing(folder, layout, read, code):
    world = World(folder, layout, "run", Once(code))
    expected = repr(READS[read](world.store))
    for number in itertools.count(1):
        world.syscalls.arm(number)
        try:
            result = READS[read](world.store)
        except ChunkstoreError:
            pass
        else:
            assert repr(result) == expected or result.problems, world.syscalls.failed
        if not world.syscalls.failed:
            break
    assert number > 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_short_writes_and_reads_change_nothing(folder, operation):
    expected = World(folder, "chunked", "run", Once())
    OPERATIONS[operation](expected.store)
    after = expected.state()
    world = World(folder, "chunked", "run", Once(short_writes=True))
    OPERATIONS[operation](world.store)
    assert world.state() == after
    assert set(ALL_CALLS) >= set(world.syscalls.counts)

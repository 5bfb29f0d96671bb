"""Whichever system call fails while a run is recorded: all of it is recorded, or the author is told."""

import errno
import itertools
import logging
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crashing import LAYOUTS, holds, records_in
from descriptors import descriptors_into

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import ChunkstoreError
from chunkstore.recording import output
from chunkstore.recording.catalog import claims, files, on_disk
from chunkstore.stores.base import StoreOptions
from chunkstore.testing.faults import FaultySyscalls

RUN = "run"
POINTS = [0.5, 0.25]
#: Seconds that one run may take; it takes some milliseconds.
LONGEST = 30

#: Layout, level, error number, and whether the call does its work before it fails.
WAYS = [
    ("chunked-fs", "run", errno.EIO, False),
    ("chunked-fs", "step", errno.ENOSPC, False),
    ("chunked-fs", "process", errno.EIO, True),
    ("file-system", "run", errno.ENOSPC, False),
    ("file-system", "step", errno.EIO, False),
]


class Faulty(FaultySyscalls):
    """System calls of which one fails; nothing is synced, as that takes its time."""

    def perform(self, call, action):
        return super().perform(call, (lambda: None) if call.name in ("fsync", "syncfs") else action)


@pytest.fixture(autouse=True)
def _alarm():
    """Let a test that hangs fail."""

    def fail(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, fail)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def warnings(monkeypatch):
    """A list of what is logged, as text: records keep the errors in them, and those keep descriptors."""
    found = []
    monkeypatch.setattr(logging.getLogger("chunkstore"), "handle", lambda record: found.append(record.getMessage()))
    return found


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()  # its thread is there from the start
        yield executor


class World:
    """A store all of whose system calls may fail, also those on the catalog, and what its author was told."""

    def __init__(self, folder, way, monkeypatch, at):
        store_type, durability, code, late = way
        self.top, self.store_type = folder / "top", store_type
        self.logs, self.catalog = self.top / "logs", self.top / ".catalog"
        shutil.rmtree(self.top, ignore_errors=True)
        self.top.mkdir()
        self.syscalls = Faulty(code, late=late)
        for module in (claims, files, on_disk, output):
            monkeypatch.setattr(module, "SYSTEM", self.syscalls)
        backend = DirectoryBackend(self.logs, durability=durability, lock_timeout=1, syscalls=self.syscalls)
        options = StoreOptions(log_folder=str(self.logs), durability=durability)
        self.store = LAYOUTS[store_type](backend, options)
        self.claims = []
        self.points = []
        self.entered = self.left = False
        self._at = at

    def arm(self):
        self.syscalls.counted, self.syscalls._at = 0, self._at

    def claim(self, *claim):
        """Note what has been acknowledged."""
        self.claims.append(claim)

    def leftovers(self):
        return [name for _, folders, files in os.walk(self.top) for name in [*folders, *files] if ".tmp-" in name]

    def log(self):
        """Return the run as others see it, or None."""
        store = chunkstore.open_store(self.store_type, log_folder=str(self.logs), lock_timeout=1)
        if not store.has_run(RUN):
            return None
        store.set_parameters(RUN, {"the lock": "is free"})
        return store.get_run_log(RUN, strict=True)


def double(number):
    print("doubling", number)
    chunkstore.current_step().put_data("data.csv")
    return 2 * number


def record(world, pool):
    """Record all that can be recorded."""
    world.arm()
    with world.store.start_run(RUN, parameters={"seed": 7}) as run:
        world.entered = True
        world.claim("parameter", RUN, "", "seed", 7)
        with run.step("load") as loading:
            loading.log_metric("rows", 3)
            loading.log_metrics({"loss": 0.5}, step=1)
            world.points = [0.5]
            loading.log_metrics({"loss": 0.25}, step=2)
            loading.put_data("data.csv", "folder/data.csv")
            world.claim("data", RUN, "load")
            loading.get_data("folder/data.csv", "copy.csv")
            print("loaded")
        world.points = POINTS
        world.claim("ended", RUN, "load", "SUCCESS")
        run.set_parameters({"late": 8})
        world.claim("parameter", RUN, "", "late", 8)
        assert run.map("double", [1, 2], double, executor=pool) == [2, 4]
        for name in ("double", "double.1.double", "double.2.double"):
            world.claim("ended", RUN, name, "SUCCESS")
        world.claim("data", RUN, "double.1.double")
        world.claim("data", RUN, "double.2.double")
        world.left = True
    world.claim("status", RUN, "SUCCESS")


#: What each step puts and gets, apart from what it prints.
DATA = {
    "load": ["folder/data.csv", "folder/data.csv"],
    "double": [],
    "double.1.double": ["data.csv"],
    "double.2.double": ["data.csv"],
}


def missing_of_a_success(world, log):
    """Return what is not recorded of a run that says that it succeeded, and what it printed if that was not logged."""
    claims = [
        ("parameter", RUN, "", "seed", 7),
        ("parameter", RUN, "", "late", 8),
        ("metrics", RUN, "load", POINTS),
        *(("ended", RUN, name, "SUCCESS") for name in DATA),
        *(("data", RUN, name) for name, data in DATA.items() if data),
    ]
    missing = holds(world.logs, world.store_type, claims, catalog=world.catalog)
    steps = {name: found for (kind, name), found in records_in(log).items() if kind == "step"}
    for name, data in DATA.items():
        entries = [entry.name for entry in steps[name].data_catalog if not entry.name.endswith(".execution.log")]
        if entries != data:
            missing.append((name, entries))
    if steps["load"].user_defined_metrics != {"rows": 3}:
        missing.append("rows")
    return missing


def printed(log):
    """Return the steps of which there is something that they printed."""
    steps = [found for (kind, _), found in records_in(log).items() if kind == "step"]
    return {
        step.internal_name for step in steps for entry in step.data_catalog if entry.name.endswith(".execution.log")
    }


def check(world, error, warnings, where):
    """Look at what came of a run one of whose calls failed."""
    failed = {call.name for call in world.syscalls.failed}
    assert error is None or isinstance(error, ChunkstoreError), where
    assert "write" not in vars(sys.stdout), where
    log = world.log()
    if log is None:
        assert error is not None, where
        assert world.claims == [], where
        return
    assert holds(world.logs, world.store_type, world.claims, catalog=world.catalog) == [], where
    series = log.steps["load"].metric_series if "load" in log.steps else {}
    assert [point.value for point in (series or {}).get("loss", [])][: len(world.points)] == world.points, where
    if log.status == "SUCCESS":
        assert missing_of_a_success(world, log) == [], where
        assert printed(log) == {"load", "double.1.double", "double.2.double"} or warnings, where
    else:
        assert error is not None, where
        # It is logged if the end cannot be recorded; an error at the very beginning or end says so itself.
        assert log.status == "FAIL" or warnings or not world.entered or world.left, where
    if not failed & {"unlink", "rmdir"}:
        assert world.leftovers() == [], where


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0]}-{way[1]}-{errno.errorcode[way[2]]}")
def test_a_run_is_recorded_whole_or_its_author_is_told(memory, way, pool, monkeypatch, warnings):
    Path("data.csv").write_text("x,y\n1,2\n")
    record(World(memory, way, monkeypatch, 0), pool)
    before = descriptors_into(memory)
    for number in itertools.count(1):
        world = World(memory, way, monkeypatch, number)
        warnings.clear()
        signal.alarm(LONGEST)
        error = None
        try:
            record(world, pool)
        except Exception as raised:
            error = raised
        failed = list(world.syscalls.failed)
        world.syscalls.heal()
        check(world, error, warnings, f"call {number}: {failed}: {error!r}")
        if not failed:
            break
    assert number > 100
    del error, world
    assert descriptors_into(memory) == before


def ends_in_time(work, seconds=10):
    """Run `work` in a forked child; return whether it came to its end without an exception."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def test_that_what_is_printed_cannot_be_kept_is_logged_to_the_very_stream_that_is_kept(memory, monkeypatch):
    world = World(memory, WAYS[0], monkeypatch, 0)

    def work():
        # As `logging` does it by itself in a program that does not configure it.
        logging.getLogger("chunkstore").addHandler(logging.lastResort)
        with world.store.start_run(RUN) as run, run.step("load"):
            monkeypatch.setattr(output, "SYSTEM", Faulty(errno.ENOSPC, at=1, persistent=True, only=("write",)))
            print("loaded")

    assert ends_in_time(work)
    assert world.log().status == "SUCCESS"

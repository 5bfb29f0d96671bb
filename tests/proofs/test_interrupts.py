"""Ctrl-C at any moment: the state is the old or the new one, nothing is left behind, and no lock is held for ever."""

import gc
import itertools
import os
import shutil
import signal
import sys

import pytest
from descriptors import descriptors_into
from operations import ALL_LAYOUTS, JOURNAL, LAYOUTS
from processes import Forked

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import RunLogExistsError
from chunkstore.recording import streams
from chunkstore.recording.scope import CURRENT_RUN
from chunkstore.recording.step import CURRENT_STEP
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepLog
from chunkstore.testing.faults import InterruptedSyscalls

# What is raised while an object is collected, Python reports and passes over; there the interrupt is lost.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RUN = "run"


def step(name, **fields):
    return StepLog(name=name, internal_name=name, **fields)


OPERATIONS = {
    "create": lambda store: store.create_run_log("new", tag="t", parameters={"a": 1}),
    "add": lambda store: store.add_step_log(RUN, step("added")),
    "add again": lambda store: store.add_step_log(RUN, step("owned", message="again")),
    "update": lambda store: store.update_step_log(RUN, "foreign", lambda found: setattr(found, "message", "x")),
    "update run": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS")),
    "set parameters": lambda store: store.set_parameters(RUN, {"b": 2}),
    "append": lambda store: store.append_metrics(RUN, "owned", {"more": [MetricPoint(1, 2)]}),
    "delete": lambda store: store.delete_run(RUN),
}
#: Done to a run that has finished.
SEALING = {"seal": lambda store: store.seal(RUN), "unseal": lambda store: store.unseal(RUN)}
ALL_OPERATIONS = {**OPERATIONS, **SEALING}
#: Layouts and operations, and every how many moments an interrupt between two calls of Python comes.
PACKING = [(JOURNAL, "add", 1), (JOURNAL, "add again", 1), (JOURNAL, "append", 1), (JOURNAL, "seal", 13)]
PACKING += [("chunked", "seal", 13), ("chunked", "unseal", 13)]
WAYS = [*itertools.product(LAYOUTS, OPERATIONS, [1]), *PACKING]


class World:
    """A folder with a run, and a store in it that owns one of its two steps."""

    def __init__(self, folder, layout, durability="run", operation="", **options):
        self.logs = os.path.join(folder, "logs")
        shutil.rmtree(self.logs, ignore_errors=True)
        self.layout = ALL_LAYOUTS[layout]
        healthy = self.healthy()
        healthy.create_run_log(RUN, parameters={"a": 1})
        healthy.add_step_log(RUN, step("foreign"))
        self.store = self.layout(DirectoryBackend(self.logs, durability=durability, lock_timeout=1, **options))
        self.store.add_step_log(RUN, step("owned"))
        if operation in SEALING:
            healthy.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
        if operation == "unseal":
            healthy.seal(RUN)

    def healthy(self):
        return self.layout(DirectoryBackend(self.logs, lock_timeout=1))

    def state(self):
        result = {}
        for summary in self.healthy().list_runs():
            log = self.healthy().get_run_log(summary.run_id, strict=True)
            log.run_config = {}
            result[summary.run_id] = log
        return repr(sorted(result.items()))

    def leftovers(self):
        names = itertools.chain.from_iterable([*folders, *files] for _, folders, files in os.walk(self.logs))
        return [name for name in names if name.startswith((".tmp-", ".deleted-"))]

    def check(self, operation, states, where):
        """Nothing but the old or the new state may be left, and the same store object must go on working."""
        assert self.state() in states, where
        assert self.leftovers() == [], where
        for folder in os.scandir(self.logs):
            assert not folder.is_dir() or "RunLog.json" in os.listdir(folder), where
        if operation == "delete":
            return
        # Others first: the store itself would lock through the very descriptor that was not unlocked.
        self.healthy().set_parameters(RUN, {"the lock": "is free"})
        try:
            ALL_OPERATIONS[operation](self.store)
        except RunLogExistsError:
            assert operation == "create", where
        self.store.set_parameters(RUN, {"for us": "as well"})
        if operation in SEALING:
            files = os.listdir(os.path.join(self.logs, RUN))
            assert not [name for name in files if name.startswith(".aside-")], where
            assert any(name.startswith("Sealed-") for name in files) == (operation == "seal"), where
        log = self.healthy().get_run_log(RUN, strict=True)
        assert {"a", "the lock", "for us"} <= set(log.parameters), where


def states_of(folder, layout, operation):
    world = World(folder, layout, operation=operation)
    states = [world.state()]
    ALL_OPERATIONS[operation](world.store)
    return [*states, world.state()]


def _is_collecting(frame):
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


class Interrupter:
    """Raises KeyboardInterrupt where Python looks for signals: at a function's entry and after a call into C.

    Args:
        at: at which of these moments, counted from 1.
    """

    def __init__(self, at):
        self.left = at
        self.where = None

    def __call__(self, frame, event, _argument):
        if event not in ("call", "c_return") or frame.f_code.co_filename == __file__ or _is_collecting(frame):
            return
        self.left -= 1
        if self.left == 0:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {event}"
            sys.setprofile(None)
            raise KeyboardInterrupt

    def run(self, action):
        """Run `action`; return whether it was interrupted."""
        sys.setprofile(self)
        try:
            action()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        return self.where is not None


@pytest.mark.parametrize(("layout", "operation", "every"), WAYS)
def test_an_interrupt_between_any_two_calls_of_python_leaves_the_old_or_the_new_state(folder, layout, operation, every):
    states = states_of(folder, layout, operation)
    for moment in itertools.count(1, every):
        world = World(folder, layout, operation=operation)
        interrupter = Interrupter(moment)
        if not interrupter.run(lambda world=world: ALL_OPERATIONS[operation](world.store)):
            break
        world.check(operation, states, f"moment {moment}: {interrupter.where}")
    assert moment > 30


@pytest.fixture(params=[True, False], ids=["unnamed", "temporary"])
def _files_before_they_are_published(request, monkeypatch):
    """Whether files that are being written have no name yet, or a temporary one."""
    if not request.param:
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)


@pytest.mark.usefixtures("_files_before_they_are_published")
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("layout", "operation"), [way[:2] for way in WAYS])
def test_an_interrupt_around_any_system_call_leaves_the_old_or_the_new_state(folder, layout, operation, late):
    states = states_of(folder, layout, operation)
    for number in itertools.count(1):
        syscalls = InterruptedSyscalls(late=late)
        world = World(folder, layout, "step", operation, syscalls=syscalls)
        syscalls.counted, syscalls._at = 0, number
        try:
            ALL_OPERATIONS[operation](world.store)
        except KeyboardInterrupt:
            pass
        failed, syscalls._at = syscalls.failed, 0
        if not failed:
            break
        if failed[0].name in ("unlink", "rmdir") and not late:
            world.store.close()  # what was not removed at the second try either, or so it looks to this store
            continue
        world.check(operation, states, f"call {number}: {failed}")
    assert number > (2 if layout == JOURNAL else 5)


def test_an_interrupt_while_waiting_for_a_lock_leaves_it_to_others(folder):
    world = World(folder, "chunked")

    def hold(say):
        with world.healthy().backend.lock(RUN, ".lock"):
            say("held")
            signal.pause()

    def press_ctrl_c(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press_ctrl_c)
    try:
        with Forked(hold) as child:
            assert child.wait_for_line() == "held"
            waiting = World.healthy(world)
            waiting.backend._lock_timeout = 60
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                waiting.set_parameters(RUN, {"b": 1})
    finally:
        signal.signal(signal.SIGALRM, before)
    waiting.set_parameters(RUN, {"b": 2})
    world.store.set_parameters(RUN, {"c": 3})
    assert world.healthy().get_parameters(RUN) == {"a": 1, "b": 2, "c": 3}


def record_a_run(store):
    with store.start_run(RUN) as run:
        with run.step("first") as first:
            first.log_metric("loss", 0.5, step=1)
            first.log_metric("rows", 3)
            print("printed")
        run.set_parameters({"a": 1})


@pytest.fixture
def _nothing_stays_in_place(monkeypatch):
    """An interrupt that hits the leaving of a block leaves what that had put in place to the end of the program."""
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, getattr(sys, stream))
    yield
    gc.collect()  # what was interrupted while it was left is left now
    for kept in (CURRENT_RUN, CURRENT_STEP, streams._output):
        kept._innermost.set(None)


def everything_in(folder):
    return [os.path.join(where, name) for where, folders, files in os.walk(folder) for name in [*folders, *files]]


@pytest.mark.thorough
@pytest.mark.usefixtures("_nothing_stays_in_place")
@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_an_interrupted_run_is_there_whole_or_not_at_all_and_never_a_success(folder, store_type, monkeypatch, caplog):
    monkeypatch.setattr("chunkstore.recording.recorder.git_identity", lambda: None)
    logs = os.path.join(folder, "logs")
    # What is made once in a process is there from now on: its moments would be more than those of the run.
    record_a_run(chunkstore.open_store(store_type, log_folder=logs))
    seen = set()
    for moment in itertools.count(1, 11):  # all of them, some 2,000, would take a minute
        shutil.rmtree(folder, ignore_errors=True)
        store = chunkstore.open_store(store_type, log_folder=logs, lock_timeout=1)
        interrupter = Interrupter(moment)
        interrupted = interrupter.run(lambda store=store: record_a_run(store))
        if not interrupted:
            break
        where = f"moment {moment}: {interrupter.where}"
        assert not [path for path in everything_in(folder) if ".tmp-" in path or ".deleted-" in path], where
        reader = chunkstore.open_store(store_type, log_folder=logs, lock_timeout=1)
        for summary in reader.list_runs():
            log = reader.get_run_log(summary.run_id, strict=True)
            seen.add(log.status)
            if log.status == "SUCCESS":
                assert [found.status for found in log.steps.values()] == ["SUCCESS"], where
                assert log.parameters == {"a": 1}, where
            reader.set_parameters(summary.run_id, {"the lock": "is free"})
    assert moment > 1_000
    assert seen == {"PROCESSING", "FAIL", "SUCCESS"}


def test_descriptors_that_were_open_are_closed_after_an_interrupt(folder):
    world = World(folder, "chunked", "step", syscalls=(syscalls := InterruptedSyscalls()))
    before = descriptors_into(folder)
    for number in range(1, 8):
        syscalls.counted, syscalls._at = 0, number
        try:
            world.store.add_step_log(RUN, step(f"s{number}"))
        except KeyboardInterrupt:
            pass
        syscalls._at = 0
    assert len(syscalls.failed) >= 6
    assert len(descriptors_into(folder)) <= len(before)

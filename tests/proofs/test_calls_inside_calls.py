"""Every call that records, in the middle of every other: it ends, and both are in the log.

Handlers of signals and finalisers run between any two steps of Python, on the thread whose call they interrupt.
"""

import gc
import itertools
import os
import random
import signal
import sys
import threading
import time

import pytest
from processes import Forked

import chunkstore
from chunkstore import BranchFailedError
from chunkstore.records.models import StepLog
from proofs.recording_calls import CALLS, RUN, STORES, World, metrics, update_step

#: Whatever takes longer than this, in seconds, waits for itself.
LONGEST = 60


class Interrupter:
    """Calls something where Python looks for signals: at a function's entry and after a call into C.

    Args:
        at: at which of these moments, counted from 1.
        what: what to call.
    """

    def __init__(self, at, what):
        self.left = at
        self.what = what
        self.where = None

    def __call__(self, frame, event, _argument):
        if self.left > 0 and event in ("call", "c_return") and self.is_ours(frame):
            self.left -= 1
            if self.left == 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {event}"
                sys.setprofile(None)
                self.what()

    @staticmethod
    def is_ours(frame):
        """Tell whether a frame is in the middle of the library, and not of the library's own finalisers."""
        inside = False
        while frame is not None:
            if frame.f_code.co_name == "__del__" or frame.f_code.co_filename.endswith("threading.py"):
                return False
            inside = inside or f"{os.sep}chunkstore{os.sep}" in frame.f_code.co_filename
            frame = frame.f_back
        return inside

    def run(self, call):
        sys.setprofile(self)
        try:
            call()
        finally:
            sys.setprofile(None)
        return self.left == 0


def check(world, where):
    log = world.other.get_run_log(RUN, strict=True)
    for name, number, place in world.made:
        is_there = CALLS[name][1]
        try:
            right = is_there is None or is_there(log, number)
        except (KeyError, TypeError):
            right = False
        assert right, f"{name} {number} ({place}) is not there: {where}"
    points = sorted(number for name, number, _ in world.made if name == "point")
    assert sorted(point.value for point in (log.steps["outer"].metric_series or {}).get("p", ())) == points, where
    assert log.problems == [], where


def moments_of(world, outer, count):
    """Return some of the moments at which a call can be interrupted."""
    number = next(world.number)
    world.made.append((outer, number, "alone"))
    counter = Interrupter(sys.maxsize, None)
    counter.run(lambda: CALLS[outer][0](world, number))
    total = sys.maxsize - counter.left
    return sorted(random.sample(range(1, total + 1), min(count, total)))


def call_inside(world, outer, inner, moment):
    """Make one call in the middle of another; return where that was."""
    number, inside = next(world.number), next(world.number)

    def interrupt():
        world.made.append((inner, inside, "inside"))
        CALLS[inner][0](world, inside)

    interrupter = Interrupter(moment, interrupt)
    made = (outer, number, f"around {inner}")
    world.made.append(made)
    signal.alarm(LONGEST)
    try:
        interrupter.run(lambda: CALLS[outer][0](world, number))
    except BranchFailedError as error:
        # Of a run that has ended meanwhile, no branch is begun any more, and that is said.
        if inner != "finish" or "had ended before it began" not in str(error):
            raise AssertionError(f"{inner} in {outer}, moment {moment}: {interrupter.where}") from error
        world.made.remove(made)
    except BaseException as error:
        raise AssertionError(f"{inner} in {outer}, moment {moment}: {interrupter.where}") from error
    finally:
        signal.alarm(0)
    return f"{inner} in {outer}, moment {moment}: {interrupter.where}"


@pytest.fixture
def _hangs_are_told():
    def give_up(*_):
        raise TimeoutError("it waits for itself")

    before = signal.signal(signal.SIGALRM, give_up)
    yield
    signal.signal(signal.SIGALRM, before)


def make_calls(folder, kind, outer, inner, count):
    folder.mkdir()
    world = World(folder, *STORES[kind])
    where = ""
    for moment in moments_of(world, outer, count):
        where = call_inside(world, outer, inner, moment)
    world.leave()
    check(world, where)


QUICK = [
    (outer, inner) for outer in ("metric", "print", "block", "parameters") for inner in ("metric", "block", "finish")
]


@pytest.mark.usefixtures("_hangs_are_told", "_no_git")
@pytest.mark.parametrize("kind", STORES)
def test_calls_in_the_middle_of_others_end_and_are_recorded(tmp_path, kind):
    for outer, inner in QUICK:
        make_calls(tmp_path / f"{outer}-{inner}", kind, outer, inner, 2)


@pytest.mark.thorough
@pytest.mark.usefixtures("_hangs_are_told", "_no_git")
@pytest.mark.parametrize("outer", CALLS)
@pytest.mark.parametrize("kind", STORES)
def test_every_call_in_the_middle_of_every_other_ends_and_is_recorded(tmp_path, kind, outer):
    for inner in CALLS:
        make_calls(tmp_path / inner, kind, outer, inner, 2)


@pytest.fixture
def _no_git(monkeypatch):
    monkeypatch.setattr("chunkstore.recording.recorder.git_identity", lambda: None)


# --- each danger by itself -------------------------------------------------------------------------------------------


@pytest.fixture(params=STORES)
def world(request, tmp_path, _no_git):
    world = World(tmp_path, *STORES[request.param])
    yield world
    world.leave()


def once(function, inner):
    """Return a function that calls `inner` before it does its own work, the first time."""
    left = [inner]

    def replaced(*arguments, **keywords):
        if left:
            left.pop()()
        return function(*arguments, **keywords)

    return replaced


@pytest.mark.parametrize("before", [True, False], ids=["before_the_write", "during_the_write"])
def test_a_change_under_a_lock_keeps_one_that_came_in_its_middle(world, before, monkeypatch):
    backend = world.store.backend
    verb = "replace_as_read" if before else "replace"
    monkeypatch.setattr(backend, verb, once(getattr(backend, verb), lambda: update_step(world, 1)))
    update_step(world, 2)
    assert metrics(world.other.get_run_log(RUN), "others") == {"u1": 1, "u2": 2}
    count = lambda log: log.user_defined_metrics.update(n=log.user_defined_metrics.get("n", 0) + 1)  # noqa: E731
    monkeypatch.setattr(
        backend, verb, once(getattr(backend, verb), lambda: world.store.update_step_log(RUN, "own", count))
    )
    world.store.update_step_log(RUN, "own", count)
    assert metrics(world.other.get_run_log(RUN), "own") == {"n": 2}


def test_what_is_added_to_a_step_in_the_middle_of_a_write_of_the_very_step_is_there(world, monkeypatch):
    writes = getattr(world.store, "_journals", None), "_append"
    if writes[0] is None:
        writes = world.store.backend, "replace"
    monkeypatch.setattr(*writes, once(getattr(*writes), lambda: world.step.log_metric("inner", 1)))
    world.step.log_metric("outer", 2)
    assert metrics(world.other.get_run_log(RUN)) == {"inner": 1, "outer": 2}


@pytest.mark.parametrize("world", ["journal"], indirect=True)
def test_a_call_in_the_middle_of_another_leaves_alone_the_journal_that_is_being_written(world, monkeypatch):
    def record(name, message=""):
        world.store.add_step_log(RUN, StepLog(name=name, internal_name=name, message=message))

    world.store.close()  # so that a journal is begun
    writer = world.store._writer
    monkeypatch.setattr(writer, "prepare_journal", once(writer.prepare_journal, lambda: record("second")))
    record("first")
    record("second", "again")
    record("first", "again")
    log = world.other.get_run_log(RUN)
    assert [log.steps[name].message for name in ("first", "second")] == ["again", "again"]


@pytest.mark.usefixtures("_hangs_are_told")
@pytest.mark.parametrize("world", ["files"], indirect=True)
def test_a_call_that_interrupts_another_does_not_wait_for_other_threads_that_wait_for_that(world, monkeypatch):
    """Another thread has the mutex of a step, and waits for the stripe that this one has."""
    write = world.step._write
    begun = threading.Event()

    def slow():
        begun.set()
        with stripe:
            pass
        write()

    stripe = threading.RLock()
    monkeypatch.setattr(world.store._stripes, "mutexes", [stripe] * len(world.store._stripes.mutexes))
    other = threading.Thread(target=world.step.log_metric, args=("theirs", 1))

    def inner():
        world.step._write = slow
        other.start()
        begun.wait()
        del world.step._write
        world.step.log_metric("inner", 2)

    writer = world.store._records._writer
    monkeypatch.setattr(writer, "publish", once(writer.publish, inner))
    signal.alarm(20)
    world.store.add_step_log(RUN, StepLog(name="x", internal_name="x"))
    signal.alarm(0)
    other.join(20)
    log = world.other.get_run_log(RUN)
    assert metrics(log) == {"inner": 2, "theirs": 1}
    assert "x" in log.steps


class Closing:
    """An object of a client that says good-bye when it is collected, as many do."""

    def __init__(self, call):
        self.me, self.call = self, call

    def __del__(self):
        self.call()


@pytest.mark.usefixtures("_hangs_are_told")
def test_what_is_recorded_while_garbage_is_collected_is_there(world):
    numbers = itertools.count()
    made = []

    def record():
        number = next(numbers)
        world.step.log_metric(f"closed-{number}", number)
        print("closed", number, file=sys.stderr)
        made.append(number)

    before = gc.get_threshold()
    signal.alarm(LONGEST)
    try:
        gc.set_threshold(1)
        for number in range(25):
            Closing(record)
            with world.run.step(f"s{number}") as step:
                step.log_metric("n", number)
                print("line", number)
    finally:
        gc.set_threshold(*before)
        signal.alarm(0)
    gc.collect()
    world.leave()
    log = world.other.get_run_log(RUN, strict=True)
    assert len(made) == 25
    assert metrics(log) == {f"closed-{number}": number for number in made}
    assert all(metrics(log, f"s{number}") == {"n": number} for number in range(25))


@pytest.mark.usefixtures("_hangs_are_told")
def test_what_records_whenever_garbage_is_collected_keeps_no_call_from_ending(world):
    made, is_inside = [], []

    def record(*_):
        if not is_inside:
            is_inside.append(True)
            made.append(len(made))
            world.step.log_metric(f"collected-{made[-1]}", made[-1])
            is_inside.clear()

    world.step.log_metric("list", [[number] for number in range(300)])  # which takes a collection to read or write
    before = gc.get_threshold()
    gc.callbacks.append(record)
    signal.alarm(LONGEST)
    try:
        gc.set_threshold(100, 1_000, 1_000)
        for number in range(3):
            world.step.log_metric(f"n{number}", number)
    finally:
        signal.alarm(0)
        gc.callbacks.remove(record)
        gc.set_threshold(*before)
    found = metrics(world.other.get_run_log(RUN))
    assert {found.get(f"collected-{number}") for number in made} == set(made)
    assert [found[f"n{number}"] for number in range(3)] == [0, 1, 2]


def preempted(folder, store_type, options, say):
    """Record until SIGTERM comes; its handler records the end and leaves."""
    store = chunkstore.open_store(
        store_type, log_folder=f"{folder}/logs", catalog_folder=f"{folder}/catalog", **options
    )
    run = store.start_run(RUN)
    step = run.step("train")
    step.__enter__()

    def leave(*_):
        step.log_metric("preempted", 1)
        with run.step("clean up"):
            print("cleaning up")
        run.finish("FAIL")
        os._exit(3)

    signal.signal(signal.SIGTERM, leave)
    say("goes")
    for number in itertools.count():
        step.log_metric("n", number)
        step.log_metric("p", number, step=number)
        print(number)


@pytest.mark.parametrize("kind", ["document", "files", "journal"])
def test_a_handler_of_a_signal_records_the_end_of_a_run_that_is_preempted(tmp_path, kind):
    store_type, options = STORES[kind]
    for number in range(3):
        folder = tmp_path / str(number)
        with Forked(lambda say, folder=folder: preempted(folder, store_type, options, say)) as child:
            assert child.wait_for_line() == "goes"
            time.sleep(0.02 + 0.007 * number)
            os.kill(child.pid, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 3
            child.pid = 0
        log = chunkstore.open_store(store_type, log_folder=f"{folder}/logs").get_run_log(RUN, strict=True)
        assert log.status == "FAIL"
        assert metrics(log, "train")["preempted"] == 1
        assert log.steps["clean up"].status == "SUCCESS"

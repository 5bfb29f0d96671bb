"""Ctrl-C on every engine: the driver ends soon, and no branch says for ever that it goes on, whatever still runs."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path

import pytest
from recording import work

import chunkstore
from chunkstore.records.models import PROCESSING
from chunkstore.views.walking import all_records
from engines import interrupted

PROGRAM = "import sys; from engines import interrupted; interrupted.main(*sys.argv[1:])"
TESTS = Path(__file__).parents[1]
#: How long an interrupted program may take to have recorded its end, in seconds.
SOON = 15
ENGINES = [
    *("threads", "processes"),
    *(
        pytest.param(name, marks=pytest.mark.thorough)
        for name in ("dask", "ray", "submitit", "joblib-loky", "mpi", "parsl", "executorlib")
    ),
]
#: Those that stop what runs, when they are asked to.
STOPPED = {"submitit", "ray"}


class Program:
    """A driver in a process group of its own, whose branches wait until there is a file `go`."""

    def __init__(self, folder, name, items=5, error=""):
        self.folder = folder / "log"
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.errors = folder / "errors"
        with self.errors.open("w") as errors:
            self.process = self._started(name, items, error, errors)
        self.store = chunkstore.open_store("chunked-fs", log_folder=self.folder)

    def _started(self, name, items, error, errors):
        paths = [str(TESTS), str(TESTS / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, name, str(self.folder), str(self.notes), str(items), error],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )

    def noted(self, what):
        return sorted(path.name for path in self.notes.glob(f"{what}-*"))

    def wait_for(self, condition, seconds=90):
        work.wait_for(lambda: condition() or self.process.poll() is not None, seconds)
        assert condition(), self.errors.read_text()

    def log(self):
        return self.store.get_run_log("run", strict=True)

    def has_finished(self):
        return self.store.get_run_log("run", full=False).status != PROCESSING

    def end(self):
        """Wait for the driver; end what it has left running, and return what it told of errors."""
        try:
            self.process.wait(60)
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        return self.errors.read_text()


@pytest.fixture
def program(request, tmp_path):
    started = []

    def start(*arguments, **options):
        started.append(Program(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        (each.notes / "go").touch()
        each.end()


def check_says_nothing_goes_on(store, log):
    assert PROCESSING not in log.to_json()
    for branch in log.steps["score"].branches.values():
        assert branch.status in {"SUCCESS", "FAIL"}
        assert store.get_branch_log("run", branch.internal_name).status == branch.status
    assert store.count_steps("run") == log.notes["steps"]


@pytest.mark.parametrize("name", ENGINES)
def test_ctrl_c_is_recorded_soon_and_nothing_says_for_ever_that_it_goes_on(program, name):
    driver = program(name)
    driver.wait_for(lambda: len(driver.noted("begun")) >= 2)
    before = time.monotonic()
    driver.process.send_signal(signal.SIGINT)
    driver.wait_for(driver.has_finished, SOON)
    assert time.monotonic() - before < SOON
    log = driver.log()
    assert (log.status, log.notes["message"]) == ("FAIL", "KeyboardInterrupt")
    assert log.steps["score"].message == "KeyboardInterrupt"
    check_says_nothing_goes_on(driver.store, log)
    begun = {f"score.{each.removeprefix('begun-')}" for each in driver.noted("begun")}
    assert begun <= set(log.steps["score"].branches)
    (driver.notes / "go").touch()
    assert "KeyboardInterrupt" in driver.end()
    later = driver.log()
    check_says_nothing_goes_on(driver.store, later)
    statuses = {record.internal_name: record.status for record in all_records(log.steps.values())}
    now = {record.internal_name: record.status for record in all_records(later.steps.values())}
    assert now.items() >= statuses.items()
    assert (later.status, later.notes) == (log.status, {**log.notes, **later.notes})
    for name_of_branch, branch in later.steps["score"].branches.items():
        item = name_of_branch.rpartition(".")[2]
        if (driver.notes / f"ended-{item}").exists():
            assert branch.late in {"SUCCESS", "UNKNOWN"}
        if name in STOPPED:
            assert not driver.noted("ended")
    assert list(driver.store.find_problems("run")) == []


@pytest.mark.parametrize("name", ["threads", pytest.param("dask", marks=pytest.mark.thorough)])
def test_after_an_error_what_runs_is_waited_for_until_somebody_interrupts_that(program, name):
    driver = program(name, error="in the driver")
    driver.wait_for(lambda: len(driver.noted("begun")) >= 2)
    time.sleep(0.5)  # nothing tells that it waits; were it not to, it would have finished by now
    assert not driver.has_finished()
    driver.process.send_signal(signal.SIGINT)
    driver.wait_for(driver.has_finished, SOON)
    check_says_nothing_goes_on(driver.store, driver.log())
    (driver.notes / "go").touch()
    assert "ValueError: in the driver" in driver.end()  # the one that came first is told, too


def test_workers_go_on_when_their_driver_is_killed_and_a_resumed_run_has_what_they_did(program):
    driver = program("processes")
    driver.wait_for(lambda: len(driver.noted("begun")) >= 2)
    os.kill(driver.process.pid, signal.SIGKILL)
    driver.process.wait()
    (driver.notes / "go").touch()
    work.wait_for(lambda: len(driver.noted("ended")) >= 2)
    ended = {each.removeprefix("ended-") for each in driver.noted("ended")}
    work.wait_for(
        lambda: all(driver.store.get_branch_log("run", f"score.{each}").status == "SUCCESS" for each in ended)
    )
    assert driver.store.liveness("run").state == "LOST"
    with driver.store.start_run("second", resume="run") as run:
        function = partial(interrupted.held, str(driver.notes))
        assert run.map("score", range(5), function, executor=work.threads()) == list(range(5))
    branches = driver.store.get_run_log("second").steps["score"].branches
    taken_over = {name.rpartition(".")[2] for name, branch in branches.items() if branch.cached_from == "run"}
    assert taken_over >= ended


class Breakable(Executor):
    """Hands one function on after the other, in a thread that ends when it comes to a cancelled one, as executorlib."""

    def __init__(self):
        self.futures = []
        self.goes_on = threading.Event()

    def submit(self, function, /, *arguments):
        self.futures.append((Future(), function, arguments))
        if len(self.futures) == 1:
            threading.Thread(target=self.hand_on, daemon=True).start()
        return self.futures[-1][0]

    def hand_on(self):
        self.goes_on.wait(SOON)
        for future, function, arguments in self.futures:
            future.exception(0) if future.cancelled() else future.set_result(function(*arguments))


Breakable.__module__ = "executorlib.executor.single"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_no_future_is_cancelled_of_an_engine_that_breaks_of_that(store, error):
    engine = Breakable()

    def items():
        yield from range(3)
        if error is ValueError:  # what runs is waited for
            threading.Timer(0.05, engine.goes_on.set).start()
        raise error

    with pytest.raises(error), store.start_run() as run:
        run.map("score", items(), abs, executor=engine)
    assert not any(future.cancelled() for future, *_ in engine.futures)
    engine.goes_on.set()

"""Conformance of engines: drivers in processes of their own, which are interrupted, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chunkstore.config import open_store
from chunkstore.records.models import FAIL, SUCCESS, RunLog
from chunkstore.stores.base import Store
from chunkstore.testing import engine_functions as work
from chunkstore.testing.suite_engine_base import EngineBase, branches_of, statuses

_PROGRAM = Path(__file__).parent / "programs" / "engine_driver.py"
#: What of the map of the program ends by itself, and all.
_ENDING, _ALL = ["0", "1"], [str(item) for item in range(6)]


class Driver:
    """A driver at work.

    Args:
        suite: whose engine it opens.
        way: what it does.
        folder: where it runs; it tells there how it gets on.
    """

    def __init__(self, suite: type[EngineBase], way: str, folder: Path) -> None:
        maker = suite.open_engine
        self._folder = folder
        self._way = way
        (folder / "process.json").unlink(missing_ok=True)
        self._printed = folder / f"{way}.txt"
        with open(self._printed, "wb") as printed:
            self._process = subprocess.Popen(  # noqa: S603 - a program of this package
                [*suite.driver, str(_PROGRAM), f"{maker.__module__}.{maker.__qualname__}", way, str(folder)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its group is ended in the end, with what it leaves behind
            )

    def signal(self, number: int) -> None:
        """Send a signal to the driver itself, which another program may have started."""
        os.kill(self.answer("process")["id"], number)

    def answer(self, what: str = "") -> dict[str, Any]:
        """Wait for an answer, the last one if it is not named; return it."""
        path = self._folder / f"{what or self._way}.json"
        work.wait_until(lambda: path.exists() or self._process.poll() is not None, f"the driver tells of {path.stem}")
        if not path.exists():
            pytest.fail(f"The driver ended with {self._process.returncode} and printed:\n{self._printed.read_text()}")
        answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return answer

    def end(self) -> None:
        """Wait for the end of the driver; kill what is left of its group."""
        try:
            self._process.wait(work.LONGEST_WAIT)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill what there still is of the driver, and of what it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # all have ended
        self._process.wait()


class EngineDriverSuite(EngineBase):
    """What a driver does as a program."""

    @pytest.fixture
    def drive(self, request: pytest.FixtureRequest, shared_folder: Path) -> Iterator[Any]:
        """Return a callable that starts a driver on its way; what it leaves behind is ended with the test."""
        drivers: list[Driver] = []

        def start(way: str) -> Driver:
            driver = Driver(request.cls, way, shared_folder)
            drivers.append(driver)
            return driver

        yield start
        for driver in drivers:
            driver.kill()

    def test_a_script_may_send_what_it_defines(self, drive: Any, shared_folder: Path) -> None:
        """Functions, items, results and errors; into a store in a relative folder, which is the script's."""
        driver = drive("script")
        assert driver.answer() == {"results": [None, [True, -1], [True, -2], [True, -3]], "is_own": True}
        driver.end()
        log = open_store("chunked-fs", log_folder=str(shared_folder / "log")).get_run_log("run", strict=True)
        assert statuses(log, "mirror") == {"0": FAIL, "1": SUCCESS, "2": SUCCESS, "3": SUCCESS}
        for name, branch in branches_of(log, "mirror").items():
            (step,) = branch.steps.values()
            assert step.user_defined_metrics == {"x": int(name)}

    def test_an_interrupt_ends_the_run_soon(self, drive: Any, shared_folder: Path, notes: str) -> None:
        """While functions still run, the driver goes on with the interrupt; the run and its step are failed ones."""
        driver = drive("first")
        _wait_until_some_wait(shared_folder, notes)
        driver.signal(signal.SIGINT)
        assert driver.answer() == {"interrupted": "KeyboardInterrupt()"}
        store = _store(shared_folder)
        log = store.get_run_log("first")
        assert (log.status, log.steps["score"].status) == (FAIL, FAIL)
        assert "KeyboardInterrupt" in log.run_config["chunkstore"]["message"]
        found = statuses(log, "score")
        assert [found[name] for name in _ENDING] == [SUCCESS] * len(_ENDING)
        work.note(notes, "go")
        driver.end()

    def test_a_run_whose_driver_was_killed_is_resumed(self, drive: Any, shared_folder: Path, notes: str) -> None:
        """What had succeeded is taken over, the rest runs."""
        first = drive("first")
        _wait_until_some_wait(shared_folder, notes)
        first.signal(signal.SIGKILL)
        work.note(notes, "go")
        second = drive("second")
        assert second.answer() == {"results": [item * 2 for item in range(6)]}
        second.end()
        store = _store(shared_folder)
        log = store.get_run_log("second", strict=True)
        assert log.status == SUCCESS
        assert statuses(log, "score") == dict.fromkeys(_ALL, SUCCESS)
        assert [work.noted(notes, f"begun-{name}") for name in _ENDING] == [1] * len(_ENDING)
        before = branches_of(store.get_run_log("first"), "score")
        assert [before[name].status for name in _ENDING] == [SUCCESS] * len(_ENDING)


def _store(folder: Path) -> Store[Any]:
    return open_store("chunked-fs", log_folder=str(folder / "log"))


def _wait_until_some_wait(folder: Path, notes: str) -> None:
    """Wait until those of the map have succeeded that do so by themselves, and another waits."""

    def wait() -> bool:
        begun = any(work.noted(notes, f"begun-{name}") for name in _ALL[len(_ENDING) :])
        if not begun or not _store(folder).has_run("first"):
            return False
        log: RunLog = _store(folder).get_run_log("first")
        found = statuses(log, "score") if "score" in log.steps else {}
        return [found.get(name) for name in _ENDING] == [SUCCESS] * len(_ENDING)

    work.wait_until(wait, "two branches have ended, and another waits")

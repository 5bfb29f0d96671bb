"""How tests went that run inside the kernel: told there, one line for each stage of a test, and read outside."""

import json
import time

import pytest

from nfs.kernel import what_was_said

_PAUSE = 0.05


class Told:
    """A plugin of pytest inside: appends every report to a file.

    Args:
        config: of the session.
        path: of the file.
    """

    def __init__(self, config, path):
        self._config = config
        self._path = path

    def pytest_runtest_logreport(self, report):
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with open(self._path, "a", encoding="utf-8") as file:  # closed, and so brought to the other kernel, each time
            file.write(json.dumps(data) + "\n")


class Heard:
    """The reports outside, as they come.

    Args:
        config: of the session.
        work: the folder of the kernel.
        path: of the file.
    """

    def __init__(self, config, work, path):
        self._config = config
        self._work = work
        self._path = path
        self._size = 0
        self._reports = {}

    def of(self, item):
        """Return the reports of a test's stages, as soon as all of them are there."""
        while True:
            has_ended = (self._work / "ended").exists()  # before the last look
            self._read()
            found = self._reports.get(item.nodeid, [])
            if found and found[-1].when == "teardown":
                return found
            if has_ended:
                said = what_was_said(self._work)[-20_000:]
                return [
                    *found,
                    _failed(item, f"the kernel has ended before this test did; what was said there:\n{said}"),
                ]
            time.sleep(_PAUSE)

    def _read(self):
        try:
            with open(self._path, "rb") as file:
                file.seek(self._size)
                block = file.read()
        except FileNotFoundError:
            return
        lines = block[: block.rfind(b"\n") + 1]
        self._size += len(lines)
        for line in lines.splitlines():
            report = self._config.hook.pytest_report_from_serializable(config=self._config, data=json.loads(line))
            self._reports.setdefault(report.nodeid, []).append(report)


def _failed(item, text):
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")

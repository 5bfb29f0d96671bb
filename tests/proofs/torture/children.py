"""Forked processes that write and report until they are killed."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

#: Says one thing, any JSON; it must be short, so that a pipe takes it in one piece or not at all.
Say = Callable[[Any], None]

_PIPE_BUF = select.PIPE_BUF
_BLOCK = 1 << 16
_PR_SET_PDEATHSIG = 1
#: After so many seconds of silence, see whether anybody is alive.
_LOOK_AFTER = 1.0


class Children:
    """Forked processes that say lines through one pipe: `with Children() as children`.

    Each is the leader of a process group, so that what it started itself is killed with it. An exception that ends a
    child is said as `{"error": …, "of_library": …, "at": …}`.
    """

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.errors: list[dict[str, Any]] = []
        self._buffer = b""

    def __enter__(self) -> Children:
        self._reader, self._writer = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        os.close(self._reader)

    def start(self, work: Callable[[Say], None]) -> int:
        """Start a process; return its pid. It ends when `work` does."""
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(self._reader)
                os.setpgid(0, 0)
                _end_with(parent)
                _work(work, lambda said: _say(self._writer, said))
            finally:
                os._exit(0)
        _set_group(pid)
        self.pids.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        """Kill a process and all that it started; return when it is dead."""
        self.pids.remove(pid)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself
        os.waitpid(pid, 0)

    def kill_all(self) -> None:
        """Kill all processes; what they said can still be read."""
        for pid in list(self.pids):
            self.kill(pid)
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def read(self, count: int) -> list[Any]:
        """Return what was said, as soon as that is `count` things; less only if a child has ended with an error."""
        said: list[Any] = []
        while len(said) < count and not self.errors:
            if select.select([self._reader], [], [], _LOOK_AFTER)[0]:
                said += self._parse(os.read(self._reader, _BLOCK))
            else:
                ends = [_how_it_ended(pid) for pid in self.pids]
                if None not in ends or not {None, os.CLD_EXITED}.issuperset(ends):
                    raise RuntimeError("child processes have ended without a word, as if the system had killed them")
        return said

    def read_rest(self) -> list[Any]:
        """Return all that is still said until every process has ended, also those that the children started."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        said = []
        while block := os.read(self._reader, _BLOCK):
            said += self._parse(block)
        return said

    def wait(self) -> list[Any]:
        """Return all that is said until every child has ended by itself."""
        said = self.read_rest()
        for pid in self.pids:
            os.waitpid(pid, 0)
        self.pids.clear()
        return said

    def _parse(self, block: bytes) -> list[Any]:
        *lines, self._buffer = (self._buffer + block).split(b"\n")
        said = [json.loads(line) for line in lines]
        self.errors += [one for one in said if isinstance(one, dict) and "error" in one]
        return [one for one in said if not (isinstance(one, dict) and "error" in one)]


def _work(work: Callable[[Say], None], say: Say) -> None:
    try:
        work(say)
    except BaseException as error:
        # Cut short, as it must fit into one write to the pipe.
        text = traceback.format_exc().encode("ascii", "backslashreplace").decode()[-2500:]
        ours = any(kind.__name__ == "ChunkstoreError" for kind in type(error).__mro__)
        say({"error": text, "of_library": ours, "at": time.monotonic()})


def _say(fd: int, said: Any) -> None:
    line = json.dumps(said).encode() + b"\n"
    assert len(line) <= _PIPE_BUF, f"too long to be said at once: {len(line)} bytes"
    os.write(fd, line)


def _how_it_ended(pid: int) -> int | None:
    """Return whether a child has exited or was killed; None if it is alive."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended.si_code if ended is not None else None


def _set_group(pid: int) -> None:
    """Make a child the leader of a group; it does the same, and either may be first."""
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass  # it has ended already


def _end_with(parent: int) -> None:
    """Let this process be killed when its parent dies, so that nothing is left behind whatever happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before it was asked for


class Gate:
    """Holds processes back until all of them have been started."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def wait(self) -> None:
        """In a child: wait until the gate is opened."""
        os.close(self._writer)
        os.read(self._reader, 1)
        os.close(self._reader)

    def open(self) -> None:
        """In the parent: let all go on."""
        os.close(self._writer)
        os.close(self._reader)


class Forked:
    """A function that runs in a forked process; what it opens is not open here."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._reader)
                try:
                    data = pickle.dumps((True, function()))
                except BaseException as error:
                    data = pickle.dumps((False, (_that_pickles(error), traceback.format_exc())))
                with os.fdopen(writer, "wb") as pipe:
                    pipe.write(data)
            finally:
                os._exit(0)
        os.close(writer)

    def result(self) -> Any:
        """Wait for the process to end; return what the function returned, or raise what it raised."""
        with os.fdopen(self._reader, "rb") as pipe:
            data = pipe.read()
        os.waitpid(self._pid, 0)
        if not data:
            raise RuntimeError("the child process died")
        worked, result = pickle.loads(data)
        if worked:
            return result
        error, where = result
        raise error from RuntimeError(where)


def _that_pickles(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return error


def in_child(function: Callable[[], Any]) -> Any:
    """Call a function in a forked process; return its result when that process has ended."""
    return Forked(function).result()

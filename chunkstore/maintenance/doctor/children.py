"""Forked processes that try something and tell what they saw."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

_BLOCK = 65_536


class ChildError(Exception):
    """A child could not do what it was to do; the text says why."""


class Child:
    """A forked process that calls a function and sends its result, JSON; use it in a `with` block, which ends it.

    Args:
        work: called in the child with a function that sends a line to the parent.
    """

    def __init__(self, work: Callable[[Callable[[Any], None]], None]) -> None:
        self._work = work
        self._pid = 0
        self._pipe = -1
        self._unread = b""

    def __enter__(self) -> Child:
        self._pipe, writer = os.pipe()
        try:
            # An interrupt in between would be raised in both processes, or leave one that nobody ends.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._pid = os.fork()
                if self._pid == 0:
                    self._run(writer, before)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(writer)
        except BaseException:
            self.kill()
            raise
        return self

    def _run(self, writer: int, mask: set[int | signal.Signals]) -> None:
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(self._pipe)

            def tell(value: Any) -> None:
                os.write(writer, json.dumps(value).encode() + b"\n")

            try:
                self._work(tell)
            except Exception as error:  # noqa: BLE001 - the parent is told whatever went wrong
                tell({"error": f"{type(error).__name__}: {error}"})
            code = 0
        finally:
            os._exit(code)  # nothing of the parent's is to be flushed or cleaned up here

    def hear(self, timeout: float) -> Any:
        """Return what the child says next.

        Raises:
            ChildError: it failed, ended without a word, or said nothing in time.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ChildError(f"a process said nothing for {timeout:g} seconds")
            block = os.read(self._pipe, _BLOCK)
            if not block:
                raise ChildError("a process ended without a word")
            self._unread += block
        line, _, self._unread = self._unread.partition(b"\n")
        value = json.loads(line)
        if isinstance(value, dict) and "error" in value:
            raise ChildError(value["error"])
        return value

    def kill(self) -> None:
        """End the child at once, as `kill -9` does."""
        pid, self._pid = self._pid, 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.kill()
        finally:
            os.close(self._pipe)


def hear_all(works: Sequence[Callable[[Callable[[Any], None]], None]], timeout: float) -> list[Any]:
    """Return what children say that run at the same time.

    Args:
        works: what each is to do.
        timeout: seconds to wait for each.

    Raises:
        ChildError: one of them failed.
    """
    with ExitStack() as stack:
        children = [stack.enter_context(Child(work)) for work in works]
        return [child.hear(timeout) for child in children]

"""Where what is printed goes: where it went before, and into the copy of the step that prints it.

`sys.stdout` and `sys.stderr` themselves stay where they are, for whoever replaces them or holds them, such as
`contextlib.redirect_stdout` and handlers of `logging`: it is their `write` that is another one while at least one step
is recorded in this process. That asks a context variable where a step's copy goes, so threads and async tasks keep
apart. What other programs print that a step starts goes around it.
"""

from __future__ import annotations

import atexit
import sys
import threading
from contextlib import AbstractContextManager
from typing import Any

from chunkstore.forks import in_forked_children
from chunkstore.interrupts import guarded, passable
from chunkstore.recording.context import Current
from chunkstore.recording.output import OutputFile

_output: Current[OutputFile] = Current("output", "run.step(name)")

#: Held while the `write` of any stream is exchanged.
_mutex = threading.RLock()


class _Write:
    """The `write` of a stream that also writes to the current step's file.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._original = stream.write
        # That of its class, or of what it stands for, comes back by itself.
        self._own = getattr(stream, "__dict__", {}).get("write")
        #: One for each step that needs it.
        self.users: dict[object, None] = {}

    def __call__(self, text: str, /) -> Any:
        output = _output.find()
        if output is not None and isinstance(text, str):  # what else there is, the original refuses
            output.write(text)
        return self._original(text)

    def put_in_place(self) -> None:
        """Have the stream write with this, if it can be made to."""
        attributes = getattr(self._stream, "__dict__", None)
        if isinstance(attributes, dict):
            attributes["write"] = self
            if self._stream.write is not self:  # its class goes before
                self.take_away()

    def take_away(self) -> None:
        """Have the stream write as it did before."""
        attributes = getattr(self._stream, "__dict__", {})
        if attributes.get("write") is not self:
            return
        if self._own is None:
            attributes.pop("write", None)
        else:
            attributes["write"] = self._own


class KeptOutput(AbstractContextManager[None]):
    """A block in which what is printed is kept; with None, nothing is.

    A stream that cannot be made to write with another function is left alone, and what goes there is not kept.
    """

    def __init__(self, output: OutputFile | None) -> None:
        self._block = _output.being(output)
        self._is_kept = output is not None
        self._writes: list[_Write] = []

    def __enter__(self) -> None:
        if self._is_kept:
            for stream in (sys.stdout, sys.stderr):
                if hasattr(stream, "write"):
                    self._join(stream)
            self._block.__enter__()

    @guarded
    def _join(self, stream: Any) -> None:
        with passable(_mutex):
            write = stream.write
            if not isinstance(write, _Write):
                write = _Write(stream)
                write.put_in_place()
            self._writes.append(write)
            write.users[self] = None

    def __exit__(self, *_: object) -> None:
        if self._is_kept:
            self._block.__exit__(None, None, None)
            self._leave()

    @guarded
    def _leave(self) -> None:
        with passable(_mutex):
            for write in self._writes:
                write.users.pop(self, None)
                if not write.users:
                    write.take_away()


@atexit.register
def _restore() -> None:
    """Leave the streams as they were to the end of the interpreter: some steps do not end before it."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        write = getattr(stream, "write", None)
        if isinstance(write, _Write):
            write.take_away()


def _renew_mutex() -> None:
    """In a forked child: another thread of the parent may hold it."""
    global _mutex  # noqa: PLW0603 - one per process
    _mutex = threading.RLock()


in_forked_children(_renew_mutex)

"""Where what is printed goes: where it went before, and into the copy of the step that prints it.

`sys.stdout` and `sys.stderr` are replaced by a tee while at least one step is recorded in this process. The tee asks
a context variable where a step's copy goes, so threads and async tasks keep apart. What other programs print that a
step starts goes around it.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, TextIO, cast

from chunkstore.recording.context import Current
from chunkstore.recording.output import OutputFile

_output: Current[OutputFile] = Current("output", "run.step(name)")


class _Tee:
    """A text stream that also writes to the current step's file; all else is the original's.

    Args:
        original: the stream in whose place it is.
    """

    def __init__(self, original: TextIO) -> None:
        self.original = original
        #: One for each step that needs it. When the last one is gone it takes itself away, now or when it can.
        self._users: list[object] = []

    def write(self, text: str) -> int:
        output = _output.find()
        if output is not None and isinstance(text, str):  # what else there is, the original refuses
            output.write(text)
        return self.original.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.original)

    def join(self, name: str, user: object) -> None:
        """Stand in the stream's place at least until this user leaves."""
        self._users.append(user)
        if getattr(sys, name) is not self or len(self._users) == 1:
            self._replace(name, self.original, cast("TextIO", self))

    def leave(self, name: str, user: object) -> None:
        """Give the stream its place back, if nobody else needs this."""
        if user in self._users:
            self._users.remove(user)
        if not self._users:
            self._replace(name, cast("TextIO", self), self.original)
        if self._users:  # somebody has joined just now, and found it in its place
            self._replace(name, self.original, cast("TextIO", self))

    @staticmethod
    def _replace(name: str, old: TextIO, new: TextIO) -> None:
        if getattr(sys, name) is old:
            setattr(sys, name, new)
        _move_handlers(old, new)


def _move_handlers(old: TextIO, new: TextIO) -> None:
    """Have handlers of `logging` that write to one stream write to another.

    One that was set up before the step holds the stream of that moment.
    """
    for reference in list(getattr(logging, "_handlerList", ())):
        handler = reference()
        if isinstance(handler, logging.StreamHandler) and getattr(handler, "stream", None) is old:
            with suppress(Exception):  # one that finds its stream by itself, as that of last resort does, refuses
                handler.stream = new


#: `print` holds on to no stream: one that is taken away in its middle has to live on for a while.
_recent: deque[_Tee] = deque(maxlen=64)


def _tee_of(stream: TextIO) -> _Tee:
    if isinstance(stream, _Tee):
        return stream  # perhaps one that nobody needed any more, but that somebody has put back into its place
    for tee in list(_recent):
        if tee.original is stream:
            return tee
    _recent.append(tee := _Tee(stream))
    return tee


class KeptOutput(AbstractContextManager[None]):
    """A block in which what is printed is kept; with None, nothing is."""

    def __init__(self, output: OutputFile | None) -> None:
        self._block = _output.being(output)
        self._is_kept = output is not None
        self._tees: dict[str, _Tee] = {}

    def __enter__(self) -> None:
        for name in ("stdout", "stderr") if self._is_kept else ():
            stream = getattr(sys, name)
            if stream is not None:
                self._tees[name] = tee = _tee_of(stream)
                tee.join(name, self)
        if self._is_kept:
            self._block.__enter__()

    def __exit__(self, *_: object) -> None:
        if self._is_kept:
            self._block.__exit__(None, None, None)
        for name, tee in self._tees.items():
            tee.leave(name, self)


@atexit.register
def _restore() -> None:
    """Leave the streams as they were to the end of the interpreter: some steps do not end before it."""
    for name in ("stdout", "stderr"):
        while isinstance(stream := getattr(sys, name), _Tee):
            setattr(sys, name, stream.original)

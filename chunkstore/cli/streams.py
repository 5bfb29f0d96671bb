"""The streams of the command line, whatever is at their other ends."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer  # for annotations alone: no dependency

#: As shells say of a program that SIGPIPE ended.
BROKEN_PIPE = 141


class _Output(io.FileIO):
    """Ends the program, as SIGPIPE would, when nobody reads what it prints; after an error, nothing more is written."""

    _is_over = False

    def write(self, data: Buffer, /) -> int:
        if self._is_over:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._is_over = True
            if isinstance(error, BrokenPipeError):
                raise SystemExit(BROKEN_PIPE) from None
            raise


def prepare_streams() -> None:
    """Let everything be printed, whatever characters the terminal's encoding lacks, also where there is no stream."""
    # In the order of their descriptors: what is opened gets the first that is free.
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = _prepared(sys.stdout)
    sys.stderr = _prepared(sys.stderr)


def _prepared(stream: Any) -> Any:
    if stream is None:
        return _nowhere("w")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    if type(getattr(stream.buffer, "raw", stream.buffer)) is not io.FileIO:
        return stream
    stream.flush()
    buffer = io.BufferedWriter(_Output(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _nowhere(mode: str) -> Any:
    return open(os.devnull, mode, encoding="utf-8")

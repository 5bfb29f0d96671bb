"""Runs the command line in this process, as a shell would; and on a terminal, in another one."""

import contextlib
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import NamedTuple

from chunkstore.__main__ import main


class Result(NamedTuple):
    """What a command did: its exit code, what it printed, and what it complained of."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return self.out.splitlines()


class _Stream(io.TextIOWrapper):
    """Text for a pipe, which also takes bytes."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self):
        return self.buffer.getvalue().decode()


def chunkstore(*arguments):
    """Run a command; its output goes into pipes."""
    out, err = _Stream(), _Stream()
    argv, sys.argv = sys.argv, ["chunkstore", *map(str, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as exit_:
                code = exit_.code or 0
    finally:
        sys.argv = argv
    return Result(code, out.text(), err.text())


def on_terminal(*arguments, columns=80, rows=40, copy=None, **environment):
    """Run a command on a terminal; return its exit code, and all that came to the screen.

    A file `copy` gets it as it comes.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR", "CI"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "chunkstore", *map(str, arguments)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**clean, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    screen = b""
    with contextlib.suppress(OSError):  # Linux says so when the other end is closed
        while block := os.read(leader, 65536):
            screen += block
            if copy is not None:
                copy.write(block.decode(errors="replace"))
                copy.flush()
    os.close(leader)
    return process.wait(), screen.decode()

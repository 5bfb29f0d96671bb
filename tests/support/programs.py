"""Programs and commands as a reader runs them, each in a fork of one interpreter that has imported what they need.

An interpreter that starts, and imports typer and rich, takes longer than what most examples do.
"""

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parent.parent.parent
#: Seconds after which a program that hangs is killed.
LIMIT = 300


class Ended(NamedTuple):
    """How a program ended.

    Attributes:
        code: its exit code.
        printed: what it printed.
        errors: what it printed to where errors go.
    """

    code: int
    printed: str
    errors: str


class Programs:
    """Runs Python programs and the commands of chunkstore, one at a time: `with Programs() as programs`."""

    def __enter__(self):
        self._interpreter = subprocess.Popen(
            [sys.executable, __file__],
            env={**environment(), "PYTHONWARNINGS": "error"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self._interpreter.stdin.close()
        self._interpreter.stdout.close()
        self._interpreter.wait()

    def run(self, arguments, folder):
        """Run `["program.py", …]` or `["chunkstore", …]` in a folder; return how it ended."""
        files = [str(folder / name) for name in (".printed", ".errors")]
        print(json.dumps([arguments, str(folder), *files]), file=self._interpreter.stdin, flush=True)
        code = int(self._interpreter.stdout.readline())
        texts = [Path(file).read_text(encoding="utf-8") for file in files]
        for file in files:
            os.unlink(file)
        return Ended(code, *texts)


def environment():
    """Return the environment of a reader's shell, in which these sources are installed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}}
    return {**kept, "PATH": path, "PYTHONPATH": str(PROJECT), "PYTHONIOENCODING": "utf-8"}


def _become(arguments, folder, printed, errors):
    """Make this process the one that a shell would have started."""
    signal.alarm(LIMIT)
    os.chdir(folder)
    for descriptor, file, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(file, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv = arguments
    sys.path[0] = folder
    if arguments[0] == "chunkstore":
        from chunkstore.__main__ import main

        sys.exit(main())
    program = types.ModuleType("__main__")
    program.__file__ = os.path.abspath(arguments[0])
    sys.modules["__main__"] = program
    exec(compile(Path(program.__file__).read_bytes(), program.__file__, "exec"), program.__dict__)
    sys.exit()


def _serve():
    import chunkstore.cli.app
    import chunkstore.recording.run  # noqa: F401 - imported once, for all

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()

"""A small process that forks a child for each call.

A process that has collected thousands of tests holds hundreds of megabytes, and each fork of it copies the tables of
all its pages: 15 to 25 ms, where a fork of a process that holds a tenth of that takes 3. So tests that fork again and
again do it in children of a small process. So do tests that need an interpreter which has not imported chunkstore yet.
"""

import atexit
import contextlib
import functools
import importlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

_SIZE = 8


class FailedInChildError(AssertionError):
    """What was called has failed; the message is the traceback."""


class Zygote:
    """A process that has imported some modules, and forks.

    Args:
        modules: what it imports.
    """

    def __init__(self, *modules):
        self._owner = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; import zygote; zygote.serve({theirs.fileno()}, {modules!r})"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self._socket = ours

    def call(self, function, *arguments, folder=None, timeout=None):
        """Call a function of a module, with its arguments, in a forked child; return what it returns.

        Args:
            function: what to call.
            arguments: what to give it.
            folder: the working folder; None for that of this process.
            timeout: seconds that it may take; None for any number.

        Raises:
            FailedInChildError: it raised, or the child was killed.
            TimeoutError: it did not end in `timeout` seconds; it and what it started have been killed.
        """
        assert os.getpid() == self._owner, "a forked child has no part in the conversation"
        _send(self._socket, (folder or os.getcwd(), function, arguments))
        child = _receive(self._socket)
        if timeout is not None and not select.select([self._socket], [], [], timeout)[0]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            _receive(self._socket)
            raise TimeoutError(f"{function.__name__} did not end in {timeout} s")
        failed, result = _receive(self._socket)
        if failed:
            raise FailedInChildError(result)
        return result

    def close(self):
        """End the process."""
        self._socket.close()
        if os.getpid() == self._owner:
            self._process.wait()


@functools.cache
def _of_process(_pid, modules):
    zygote = Zygote(*modules)
    atexit.register(zygote.close)
    return zygote


def zygote_with(*modules):
    """Return the zygote of this process that has imported some modules; it ends with the process."""
    return _of_process(os.getpid(), modules)


def in_small_process(function, *arguments):
    """Call a function of a module, with its arguments, where forking costs little; return what it returns."""
    return zygote_with("failing_calls", "crashing", "processes").call(function, *arguments)


def serve(fd, modules):
    """Fork a child for each call that is asked for, until nobody can ask any more."""
    for module in modules:
        importlib.import_module(module)
    with socket.socket(fileno=fd) as asked:
        while (call := _receive(asked)) is not None:
            with tempfile.TemporaryFile() as answer:
                pid = os.fork()
                if pid == 0:
                    asked.close()
                    _work(answer, *call)
                _send(asked, pid)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                answer.seek(0)
                data = answer.read()
            _send(asked, pickle.loads(data) if data else (True, f"the child ended with {code}"))


def _work(answer, folder, function, arguments):
    os.setpgid(0, 0)
    try:
        os.chdir(folder)
        said = False, function(*arguments)
    except BaseException:
        said = True, traceback.format_exc()
    answer.write(pickle.dumps(said))
    answer.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _send(where, what):
    data = pickle.dumps(what)
    where.sendall(len(data).to_bytes(_SIZE, "big") + data)


def _receive(where):
    size = _exactly(where, _SIZE)
    return pickle.loads(_exactly(where, int.from_bytes(size, "big"))) if size else None


def _exactly(where, size):
    parts = []
    while size:
        part = where.recv(size)
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

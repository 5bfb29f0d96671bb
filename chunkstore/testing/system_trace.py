"""What a piece of code does to a folder, as the kernel sees it: recorded with strace, read back as operations.

Linux only. strace must be installed and allowed to attach to a child process.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from chunkstore.testing.disk_operations import TOP, Name, Trace, TraceError
from chunkstore.testing.strace_output import Reading, traced_calls

_CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,fcntl,write,pwrite64,ftruncate,truncate,fsync,fdatasync,sync,syncfs,"
    "link,linkat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat,"
    "chdir,fchdir,clone,clone3,fork,vfork,writev,pwritev,pwritev2,sendfile,copy_file_range,fallocate"
)
_PR_SET_PTRACER, _ANYBODY = 0x59616D61, ctypes.c_ulong(-1)


def why_no_trace() -> str | None:
    """Return why nothing can be recorded on this machine, or None if it can."""
    if sys.platform != "linux":
        return "system calls are recorded with strace, which is there on Linux alone"
    if shutil.which("strace") is None:
        return "strace is not installed (Debian's package strace)"
    return None


def record(work: Callable[[Callable[[str], None]], None], folder: str | os.PathLike[str]) -> Trace:
    """Run `work` in a forked child and return what it does to a folder.

    What is written through mapped memory is not seen.

    Args:
        work: is given a function to say with that something is done: a line of text. It may start processes.
        folder: what is watched, with all that is inside.

    Raises:
        TraceError: `work` failed, or used calls on the folder that are not followed here.
    """
    top = os.path.realpath(folder)
    trace, inodes = _snapshot(top)
    # What is said is seen by strace alone.
    said = os.open(os.devnull, os.O_WRONLY)

    def speaking() -> None:
        work(lambda text: _say(said, text))

    log = Path(f"{top}.strace")
    try:
        status = run_under_strace(speaking, ["-y", "-xx", "-s", "16777216", "-e", f"trace={_CALLS}", "-o", str(log)])
        if status != 0:
            raise TraceError(f"what was recorded ended with {status}")
        reading = Reading(trace, top, said, len(inodes))
        reading.follow(traced_calls(log.read_text(encoding="ascii", errors="replace")))
    finally:
        log.unlink(missing_ok=True)
        os.close(said)
    return trace


def _say(fd: int, text: str) -> None:
    data = text.encode() + b"\n"
    if os.write(fd, data) != len(data):
        raise TraceError("too much was acknowledged")


def run_under_strace(work: Callable[[], None], options: Sequence[str]) -> int:
    """Run `work` in a forked child that strace is attached to before it begins.

    Args:
        work: what the child does.
        options: for strace, as on its command line.

    Returns:
        The child's exit code, 1 if `work` raised; negative is the signal that killed it.
    """
    waiting, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(go)
            # Where Yama lets only ancestors trace (ptrace_scope 1), the child must say that others may.
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
            os.read(waiting, 1)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's code
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(waiting)
    try:
        command = ["strace", "-f", *options, "-p", str(pid)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tracer:  # noqa: S603 - options of the caller's
            assert tracer.stderr is not None
            # strace says "Process … attached" when it has; anything else is why it cannot.
            first = tracer.stderr.readline()
            if "attached" not in first:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise TraceError(f"strace cannot attach: {first.strip()}")
            try:
                os.write(go, b"x")
            except BrokenPipeError:
                pass  # it was killed while it waited: the call that it waits in may be counted as it is attached
            _, status = os.waitpid(pid, 0)
            tracer.communicate()
    finally:
        os.close(go)
    return os.waitstatus_to_exitcode(status)


def _snapshot(top: str) -> tuple[Trace, dict[tuple[int, int], int]]:
    """Return what is in a folder, and the numbers that its inodes have been given."""
    trace = Trace()
    status = os.stat(top)
    inodes = {(status.st_dev, status.st_ino): TOP}
    pending = [(TOP, top)]
    while pending:
        number, path = pending.pop()
        for entry in os.scandir(path):
            status = entry.stat(follow_symlinks=False)
            inner = inodes.setdefault((status.st_dev, status.st_ino), len(inodes))
            trace.names[Name(number, entry.name)] = inner
            if entry.is_dir(follow_symlinks=False):
                trace.folders.add(inner)
                pending.append((inner, entry.path))
            else:
                trace.files[inner] = Path(entry.path).read_bytes()
    return trace, inodes

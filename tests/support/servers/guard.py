"""Runs a server for as long as anybody uses it: `python guard.py JSON`; however its users end, the server ends.

Each user holds a shared lock on one file; the kernel lets go of it when the user dies.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    """Run the server that is described in the only argument."""
    job = json.loads(sys.argv[1])
    users = os.open(job["users"], os.O_RDWR)
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def end_with_this_process() -> None:
        if prctl is not None:
            prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    with open(job["log"], "wb") as log:
        server = subprocess.Popen(
            job["command"],
            cwd=job["folder"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_this_process,  # noqa: PLW1509 - no thread has been started yet
        )
    unused = threading.Event()
    threading.Thread(target=_end_with, args=(server, unused), daemon=True).start()
    fcntl.lockf(users, fcntl.LOCK_EX)  # ours once nobody uses it any more
    unused.set()
    Path(job["noted"]).unlink(missing_ok=True)
    server.kill()
    server.wait()
    shutil.rmtree(job["folder"], ignore_errors=True)
    for path in job["left_over"]:
        Path(path).unlink(missing_ok=True)


def _end_with(server: subprocess.Popen, unused: threading.Event) -> None:
    server.wait()
    if not unused.is_set():
        os._exit(1)


if __name__ == "__main__":
    main()

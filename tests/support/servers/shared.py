"""A server on this machine that the processes of one run of the tests share."""

import fcntl
import http.client
import json
import os
import random
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from filelock import FileLock

_GUARD = Path(__file__).with_name("guard.py")
_PATIENCE = 60.0
_TRIES = 5
_PORTS = range(10_240, 32_768)  # below those that the kernel gives to whoever connects


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens; somebody may by the time that they are used."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_PORTS)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


class SharedServer:
    """A server that is up inside of a `with` block.

    It ends when the last block of all processes is over, also when those processes are killed.

    Args:
        shared: a folder. Processes that have it in common have one server: the first starts it.
    """

    #: What the server is called in messages and names of files.
    name = ""
    #: How many segments of the path of a URL name the bucket.
    depth = 1

    def __init__(self, shared: Path) -> None:
        self._shared = Path(shared)
        self._noted = self._shared / f"{self.name}.json"
        self._users = -1
        #: Where the server listens: host and port.
        self.address = ("127.0.0.1", 0)

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return "http://{}:{}".format(*self.address)

    def command(self, ports: list[int], folder: str) -> list[str]:
        """Return the command that serves at the first of the ports, with its data in a folder."""
        raise NotImplementedError

    def left_over(self, ports: list[int]) -> list[str]:
        """Return which files outside its folder the server leaves behind."""
        return []

    def prepare(self) -> None:
        """Make what the tests need in the server; raise OSError where it does not answer yet."""
        raise NotImplementedError

    def __enter__(self):
        """Use the server; start it if nobody does."""
        self._users = os.open(self._shared / f"{self.name}.users", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(self._users, fcntl.LOCK_SH)  # waits while the server of those before is being ended
            with FileLock(self._shared / f"{self.name}.lock"):
                if self._noted.exists():
                    self.address = ("127.0.0.1", json.loads(self._noted.read_text())["port"])
                else:
                    self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Use it no more."""
        os.close(self._users)

    def _start(self) -> None:
        for _ in range(_TRIES):
            ports = free_ports(10)
            folder = tempfile.mkdtemp(prefix=f"{self.name}-")
            log = self._shared / f"{self.name}.log"
            guard = self._guarded(ports, folder, log)
            self.address = ("127.0.0.1", ports[0])
            if self._wait(guard):
                self._noted.write_text(json.dumps({"port": ports[0], "guard": guard}))
                return
            shutil.rmtree(folder, ignore_errors=True)
        raise RuntimeError(f"{self.name} did not start; the end of {log}:\n{log.read_text(errors='replace')[-3000:]}")

    def _guarded(self, ports: list[int], folder: str, log: Path) -> int:
        job = {
            "command": self.command(ports, folder),
            "folder": folder,
            "left_over": self.left_over(ports),
            "log": str(log),
            "noted": str(self._noted),
            "users": str(self._shared / f"{self.name}.users"),
        }
        quiet: list[Any] = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
        argv = [sys.executable, str(_GUARD), json.dumps(job)]
        return os.posix_spawn(sys.executable, argv, os.environ, file_actions=quiet, setsid=True)

    def _wait(self, guard: int) -> bool:
        """Return whether the server can be used, False if it has ended."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if os.waitpid(guard, os.WNOHANG)[0]:
                return False
            try:
                self.prepare()
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            else:
                return True
        raise RuntimeError(f"{self.name} does not answer at {self.endpoint} after {_PATIENCE:.0f} s")

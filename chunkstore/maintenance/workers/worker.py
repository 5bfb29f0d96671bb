"""The worker's side: what a process sees of its driver's folder, told to a function or on a line of output.

Questions and answers are JSON with few and simple fields, as the other side may be of another version.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.mounts import mount_of
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.errors import ChunkstoreError, LockTimeoutError
from chunkstore.recording.jobs import job_here
from chunkstore.records.models import FORMAT, PACKED_FORMAT
from chunkstore.version import __version__

#: Stands before an answer on its line: commands that start workers may put a label before that.
MARK = "chunkstore-worker:"
#: The files of a meeting: what the driver has written and locked; and of each worker, that it has come, that it holds
#: its lock, that lock, and what the driver says of it.
DRIVER, DRIVER_LOCK = "driver", "driver-lock"
HELLO, HELD, LOCK, TRIED = "hello-", "held-", "lock-", "tried-"

#: How long workers wait for each other, so that none of them takes the questions of two, in seconds.
_GATHERING = 2.0
_PAUSE = 0.01


def answer(question: str) -> str:
    """Answer a question of a driver: JSON, in and out."""
    asked = json.loads(question)
    told: dict[str, Any] = {
        "begun": time.time_ns(),
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "uid": os.getuid(),
        "job": job_here(),
        "python": platform.python_version(),
        "version": __version__,
        "formats": [FORMAT, PACKED_FORMAT],
        "cwd": os.getcwd(),
    }
    mount = mount_of(asked["location"])
    told["mount"] = f"{mount.type} from {mount.source}" if mount else ""
    told["seen"] = _told_of(lambda: _look(asked["place"], asked["token"]))
    if told["seen"] is True:
        told["id"] = uuid.uuid4().hex
        told["wrote"] = _told_of(lambda: _write(asked["place"], HELLO + told["id"], told))
    if told.get("wrote") is True:
        _gather(asked)
        told["kept_out"] = _told_of(lambda: is_held(asked["place"], DRIVER_LOCK))
        told["locked"] = _told_of(lambda: _be_tried(asked, told))
    elif told["seen"] is not True:
        told["there"] = os.path.isdir(asked["location"])
    told["data"] = _told_of(lambda: _sees_data(asked))
    told["ended"] = time.time_ns()
    return json.dumps(told)


def _told_of(work: Callable[[], Any]) -> Any:
    """Return what something finds; of an error, its text."""
    try:
        return work()
    except (OSError, ChunkstoreError) as error:
        return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _look(place: str, token: str) -> bool:
    try:
        os.listdir(os.path.dirname(place))  # a network file system may remember that there was nothing
    except FileNotFoundError:
        return False
    try:
        with open(os.path.join(place, DRIVER), encoding="ascii") as file:
            return file.read() == token
    except FileNotFoundError:
        return False


def _write(place: str, name: str, told: dict[str, Any]) -> bool:
    """Write a file whole: the driver reads it while this goes on."""
    path = os.path.join(place, name)
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump({**told, "now": time.time_ns()}, file)
    os.rename(f"{path}.part", path)
    return True


def _gather(asked: dict[str, Any]) -> None:
    deadline = time.monotonic() + _GATHERING
    while time.monotonic() < deadline:
        if sum(name.startswith(HELLO) for name in os.listdir(asked["place"])) >= asked["workers"]:
            return
        time.sleep(_PAUSE)


@contextmanager
def held(place: str, name: str) -> Iterator[None]:
    """Hold a lock in a folder.

    Raises:
        LockTimeoutError: somebody else holds it.
        StoreIOError: the file system has no working locks.
    """
    folder = Folder(SYSTEM, place)
    lock = folder.lock(name)
    lock.acquire(0)
    try:
        yield
    finally:
        lock.release()


def is_held(place: str, name: str) -> bool:
    """Tell whether somebody else holds a lock in a folder."""
    try:
        with held(place, name):
            return False
    except LockTimeoutError:
        return True


def _be_tried(asked: dict[str, Any], told: dict[str, Any]) -> bool:
    """Hold a lock while the driver tries to take it; note when that was, by both clocks."""
    place = asked["place"]
    with held(place, LOCK + told["id"]):
        _write(place, HELD + told["id"], told)
        deadline = time.monotonic() + asked["patience"]
        while TRIED + told["id"] not in os.listdir(place):
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        told["tried"] = time.time_ns()
    return True


def _sees_data(asked: dict[str, Any]) -> bool:
    """Tell whether the folder of the data is the driver's."""
    os.listdir(os.path.dirname(asked["mark"]))
    return os.path.lexists(asked["mark"])


def main() -> None:
    """Answer the question that is the argument of this program."""
    told = answer(base64.urlsafe_b64decode(sys.argv[1]).decode())
    sys.stdout.write(f"{MARK}{base64.urlsafe_b64encode(told.encode()).decode()}\n")
    sys.stdout.flush()

"""Processes with clients of their own: `python -m chunkstore.maintenance.doctor.buckets.racers` is one of them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from chunkstore.backends.objects.bare import BareBucket
from chunkstore.backends.objects.place import Place
from chunkstore.maintenance.doctor.buckets.racing import Raced, race

#: Makes a client of a folder.
Connect = Callable[[Place, str], BareBucket]

#: How many processes there are, and clients in each.
PROCESSES, CLIENTS = 3, 2
#: Seconds after which a process is ended that says nothing.
_TIMEOUT = 60.0


class RacersError(Exception):
    """A process did not do its part; the text says why."""


class _Part(NamedTuple):
    """What a process is told."""

    place: Place
    folder: str
    numbers: range


def race_at(place: Place, folder: str, connect: Connect = BareBucket.at) -> list[Raced]:
    """Let clients race, in processes of their own; in this one where others would not see the same objects.

    Args:
        place: where.
        folder: what all keys begin with.
        connect: makes the clients of this process.

    Raises:
        RacersError: a process did not do its part.
    """
    parts = [_Part(place, folder, range(start, start + CLIENTS)) for start in range(0, PROCESSES * CLIENTS, CLIENTS)]
    if place.is_in_memory:
        numbers = range(PROCESSES * CLIENTS)
        return _race([connect(place, folder) for _ in numbers], numbers)
    with _started(parts) as processes:
        for process in processes:
            _line(process)
        for process in processes:
            _tell(process, b"go\n")
        return [raced for process in processes for raced in msgspec.json.decode(_line(process), type=list[Raced])]


def _race(buckets: list[BareBucket], numbers: Iterable[int]) -> list[Raced]:
    with ThreadPoolExecutor(len(buckets)) as pool:
        return list(pool.map(race, buckets, numbers))


@contextmanager
def _started(parts: list[_Part]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start a process for each part, and end all of them."""
    command = [sys.executable, "-m", __name__]
    # They find the same library as this process, wherever that comes from.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for part in parts:
            process = subprocess.Popen(  # noqa: S603 - this interpreter and this module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
            )
            processes.append(process)
            _tell(process, pickle.dumps(part))
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()


def _tell(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(data)
        process.stdin.flush()
    except BrokenPipeError:
        raise RacersError(_last_words(process)) from None


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(process.stdout.readline)
        try:
            line = reading.result(_TIMEOUT)
        except LateError:
            process.kill()
            raise RacersError(f"a process said nothing for {_TIMEOUT:g} seconds") from None
    if not line:
        raise RacersError(_last_words(process))
    return line


def _last_words(process: subprocess.Popen[bytes]) -> str:
    _, said = process.communicate(timeout=_TIMEOUT)
    words = said.decode(errors="replace").strip().splitlines()
    return words[-1] if words else "a process ended without a word"


def _main() -> None:
    """Do the part that standard input tells, when it says so."""
    part = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that has started this one
    buckets = [BareBucket.at(part.place, part.folder) for _ in part.numbers]
    for bucket in buckets:
        bucket.get("hello")  # connects, so that all begin at the same time
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if not sys.stdin.buffer.readline():
        return
    sys.stdout.buffer.write(msgspec.json.encode(_race(buckets, part.numbers)) + b"\n")


if __name__ == "__main__":
    _main()

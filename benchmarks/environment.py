"""Where a benchmark runs: folders for scratch data, and a description of the machine."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: From linux/fs.h.
_GET_FLAGS, _SET_FLAGS, _TOP_OF_HIERARCHY = 0x80086601, 0x40086602, 0x00020000
#: Folders of which one is taken for a measurement, and files that are made in each to choose it.
_PLACES = 5

#: Distributions that have a part in some scenario.
_PACKAGES = (
    "chunkstore filelock msgspec orjson diskcache optuna mlflow-skinny sqlalchemy runnable pydantic matplotlib rich"
).split()


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Make a folder for one measurement below `folder`, away from those before it, and remove it."""
    path = Path(tempfile.mkdtemp(prefix="chunkstore-benchmark-", dir=folder))
    try:
        _spread_folders_in(path)
        # ext4 takes the place from the name. Some may lie where other programs have deleted files.
        places = [Path(tempfile.mkdtemp(dir=path)) for _ in range(_PLACES)]
        yield min(places, key=_seconds_for_new_files)
    finally:
        shutil.rmtree(path)


def _spread_folders_in(path: Path) -> None:
    """Let ext4 put new folders anywhere on the disk (`chattr +T`); other file systems need not.

    It makes new files near their folder, and passes by the places of files that were deleted within the last minutes.
    Next to those of thousands, as measurements leave them, a new file takes a hundred times as long.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        flags = int.from_bytes(ioctl(fd, _GET_FLAGS, bytes(8)), sys.byteorder)
        ioctl(fd, _SET_FLAGS, (flags | _TOP_OF_HIERARCHY).to_bytes(8, sys.byteorder))
    except OSError:
        pass
    finally:
        os.close(fd)


def _seconds_for_new_files(path: Path) -> float:
    started = time.perf_counter()
    for number in range(_PLACES):
        (path / f".{number}").touch()
    seconds = time.perf_counter() - started
    for number in range(_PLACES):
        (path / f".{number}").unlink()
    return seconds


def environment(folder: Path) -> dict[str, str]:
    """Return what measurements in a folder depend on: the machine, its file system, and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "CPU": _cpu_model(),
        "cores": str(cores),
        "system": f"{platform.system()} {platform.release()}",
        "file system": f"{_file_system(folder)} at {folder}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
        **{package: _version(package) for package in _PACKAGES},
    }


def describe(folder: Path) -> str:
    """Return the environment as two lines of text."""
    found = environment(folder)
    machine = [f"{key} {found.pop(key)}" for key in ("CPU", "cores", "system", "file system")]
    return f"{', '.join(machine)}\n{', '.join(f'{key} {value}' for key, value in found.items())}\n"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on, from Linux's table of mounts."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    resolved = folder.resolve()
    holding = [(mount[1], mount[2]) for mount in mounts if resolved.is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "unknown"


def written_bytes() -> int:
    """Return how many bytes this process has handed to the kernel to write; 0 where the system does not count."""
    try:
        counters = Path("/proc/self/io").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in counters.splitlines() if line.startswith("wchar"))

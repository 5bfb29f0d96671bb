"""Where a benchmark runs: folders for scratch data, and a description of the machine."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Make a folder for one measurement below `folder`, and remove it."""
    path = Path(tempfile.mkdtemp(prefix="chunkstore-benchmark-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def describe(folder: Path, *packages: str) -> str:
    """Return two lines on the machine, the file system of `folder` and the versions of packages."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} CPUs\n"
        f"{_file_system(folder)} at {folder}; {versions}\n"
    )


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

"""Measure chunkstore against the bare system calls: `python -m benchmarks [--folder DIR] [--steps N] [--rounds N]`.

The two sides of each scenario take turns, so that a noisy machine slows both; medians over the rounds are shown. After
each round the records are counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

import chunkstore
from benchmarks.environment import describe, scratch
from chunkstore.records import RecordCodec, encode_record

_EXAMPLE = chunkstore.StepLog(
    name="simple",
    internal_name="simple",
    status="SUCCESS",
    code_identities=[
        chunkstore.CodeIdentity(
            code_identifier="39cd98770cb2fd6994d8ac08ae4c5506e5ce694a",
            code_identifier_type="git",
            code_identifier_dependable=True,
            code_identifier_url="https://example.org/organisation/repository.git",
        )
    ],
    attempts=[
        chunkstore.StepAttempt(
            start_time="2024-02-02 05:49:41.697142",
            end_time="2024-02-02 05:49:41.702983",
            duration="0:00:00.005841",
            status="SUCCESS",
        )
    ],
    data_catalog=[
        chunkstore.DataCatalog(
            name="simple.execution.log",
            data_hash="03ba204e50d126e4674c005e04d82e84c21366780af1f43bd54a37816b6ab340",
            catalog_relative_path="pleasant-lamarr-0549/simple.execution.log",
            catalog_handler_location=".catalog",
            stage="put",
        )
    ],
)

#: What one side of a scenario does: seconds that it took, given a new folder and how many steps.
Side = Callable[[Path, int], float]


def _store(folder: Path, durability: str = "process") -> chunkstore.Store:
    return chunkstore.open_store("chunked-fs", log_folder=folder / "logs", durability=durability)


def _add_steps(store: chunkstore.Store, count: int) -> float:
    steps = [_step(number) for number in range(count)]
    started = time.perf_counter()
    for step in steps:
        store.add_step_log("run", step)
    return time.perf_counter() - started


def _step(number: int) -> chunkstore.StepLog:
    return msgspec.structs.replace(_EXAMPLE, internal_name=f"simple{number}")


def append(folder: Path, count: int) -> float:
    """Add new steps."""
    return _append(folder, count, "process")


def append_durably(folder: Path, count: int) -> float:
    """Add new steps, each of which survives a loss of power."""
    return _append(folder, count, "step")


def _append(folder: Path, count: int, durability: str) -> float:
    store = _store(folder, durability)
    store.create_run_log("run")
    seconds = _add_steps(store, count)
    found = len(store.get_run_log("run").steps)
    if found != count:
        raise SystemExit(f"{count - found} steps are missing")
    return seconds


def append_floor(folder: Path, count: int) -> float:
    """Make the same files with bare system calls."""
    return _append_floor(folder, count, durably=False)


def append_durably_floor(folder: Path, count: int) -> float:
    """Make the same files with bare system calls, and flush each file and the folder."""
    return _append_floor(folder, count, durably=True)


def _append_floor(folder: Path, count: int, *, durably: bool) -> float:
    names_and_bytes = [
        (f"StepLog-simple{number}-{time.time_ns()}.json", encode_record(_step(number))) for number in range(count)
    ]
    fd_of_folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    started = time.perf_counter()
    for name, data in names_and_bytes:
        if hasattr(os, "O_TMPFILE"):
            fd = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o666, dir_fd=fd_of_folder)
        else:
            fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=fd_of_folder)
        os.write(fd, data)
        if durably:
            os.fsync(fd)
        if hasattr(os, "O_TMPFILE"):
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=fd_of_folder, follow_symlinks=True)
        os.close(fd)
        if durably:
            os.fsync(fd_of_folder)
    seconds = time.perf_counter() - started
    os.close(fd_of_folder)
    return seconds


def update(folder: Path, count: int) -> float:
    """Let the owner replace its steps."""
    store = _store(folder)
    store.create_run_log("run")
    _add_steps(store, count)
    return _add_steps(store, count)


def update_floor(folder: Path, count: int) -> float:
    """Replace the same files with bare system calls."""
    _append_floor(folder, count, durably=False)
    names = sorted(os.listdir(folder))
    data = [encode_record(_step(number)) for number in range(count)]
    fd_of_folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    started = time.perf_counter()
    for number, name in enumerate(names):
        fd = os.open(f".tmp-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=fd_of_folder)
        os.write(fd, data[number])
        os.close(fd)
        os.rename(f".tmp-{number}", name, src_dir_fd=fd_of_folder, dst_dir_fd=fd_of_folder)
    seconds = time.perf_counter() - started
    os.close(fd_of_folder)
    return seconds


def read(folder: Path, count: int) -> float:
    """Read a whole run."""
    store = _store(folder)
    store.create_run_log("run")
    _add_steps(store, count)
    started = time.perf_counter()
    store.get_run_log("run")
    return time.perf_counter() - started


def read_floor(folder: Path, count: int) -> float:
    """List, open, read and decode the same files."""
    _append_floor(folder, count, durably=False)
    decode = RecordCodec.of(chunkstore.StepLog).decode
    started = time.perf_counter()
    for name in os.listdir(folder):
        fd = os.open(folder / name, os.O_RDONLY)
        size = os.fstat(fd).st_size
        decode(os.read(fd, size))
        os.close(fd)
    return time.perf_counter() - started


def nothing(item: int) -> None:
    """Do what a branch of the scenario `map` does."""


def map_nothing(folder: Path, count: int) -> float:
    """Map a function that does nothing over items, in two processes."""
    store = _store(folder)
    with ProcessPoolExecutor(2) as pool, store.start_run("run") as run:
        started = time.perf_counter()
        run.map("nothing", range(count), nothing, executor=pool)
        return time.perf_counter() - started


def map_floor(_folder: Path, count: int) -> float:
    """Submit the same function to the bare executor."""
    with ProcessPoolExecutor(2) as pool:
        started = time.perf_counter()
        for future in [pool.submit(nothing, item) for item in range(count)]:
            future.result()
        return time.perf_counter() - started


#: Scenario -> our side, the floor, and the share of the steps that it is run with.
SCENARIOS: dict[str, tuple[Side, Side, float]] = {
    "append": (append, append_floor, 1),
    "append, durable": (append_durably, append_durably_floor, 0.05),
    "owner update": (update, update_floor, 1),
    "read": (read, read_floor, 1),
    "map": (map_nothing, map_floor, 0.2),
}


def main() -> None:
    """Measure every scenario and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="chooses the file system")
    parser.add_argument("--steps", type=int, default=10_000, help="steps per scenario (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side runs (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    print(describe(arguments.folder, "chunkstore", "msgspec", "filelock"))
    print(f"{'scenario':<18}{'per step':>12}{'floor':>12}{'ratio':>8}   steps, median of {arguments.rounds} rounds")
    for name, (side, floor, share) in SCENARIOS.items():
        count = max(1, int(arguments.steps * share))
        ours: list[float] = []
        bare: list[float] = []
        for _ in range(arguments.rounds):
            for function, times in ((side, ours), (floor, bare)):
                with scratch(arguments.folder) as folder:
                    times.append(function(folder, count) / count * 1e6)
        ratio = statistics.median(ours) / statistics.median(bare)
        medians = f"{statistics.median(ours):>9.1f} us{statistics.median(bare):>9.1f} us"
        print(f"{name:<18}{medians}{ratio:>8.2f}   {count:,}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Random system calls of random operations fail, once or from then on; the state is the old or the new one."""

from __future__ import annotations

import os
import random
import time

from chunkstore.errors import ChunkstoreError

from .figures import Figures
from .shared import (
    ALL_LAYOUTS,
    ERRORS,
    LEVELS,
    MOST_CALLS,
    Once,
    World,
    check_one_call,
    operations_of,
    states_of,
    with_files,
)


def fail_calls(folder: str | os.PathLike[str], seed: int, size: int = 2_000) -> Figures:
    """Let a call fail, `size` times, each time of another operation in another way."""
    figures, began = Figures(), time.monotonic()
    decisions = random.Random(seed)
    states: dict[tuple[str, str, str], list[str]] = {}
    for _ in range(size):
        layout, level = decisions.choice(list(ALL_LAYOUTS)), decisions.choice(LEVELS)
        operation, number = decisions.choice(operations_of(layout)), decisions.randint(1, MOST_CALLS)
        fault = {
            "code": decisions.choice(list(ERRORS)),
            "late": decisions.random() < 0.2,
            "persistent": decisions.random() < 0.4,
            "short_writes": decisions.random() < 0.1,
        }
        unnamed = decisions.random() < 0.5
        where = f"{operation}, {layout}, {level}, call {number}, {fault}, {'unnamed' if unnamed else 'temporary'} files"
        key = layout, level, operation
        if key not in states:
            states[key] = states_of(os.fspath(folder), *key)
        with with_files(unnamed=unnamed):
            world = World(os.fspath(folder), layout, level, Once(**fault), operation)
            try:
                check_one_call(world, operation, number, states[key], fault)
            except AssertionError as error:
                figures.complain("broken", f"{where}: {error}")
            except (ChunkstoreError, OSError) as error:
                figures.complain("torn", f"{where}: {error!r}")
        figures.faults += len(world.syscalls.failed)
        figures.acknowledged += not world.syscalls.failed
        figures.reads += 1
    figures.seconds = time.monotonic() - began
    return figures

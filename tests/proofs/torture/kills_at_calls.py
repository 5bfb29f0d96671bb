"""Processes are killed at random system calls of random operations; each is done or not done, and others go on."""

from __future__ import annotations

import os
import random
import signal
import time

from chunkstore.errors import ChunkstoreError

from .figures import Figures
from .shared import (
    ALL_LAYOUTS,
    LEVELS,
    MOST_CALLS,
    Killing,
    View,
    World,
    check_after_kill,
    exit_code_of,
    operations_of,
    perform,
    states_of,
    with_files,
)


def kill_at_calls(folder: str | os.PathLike[str], seed: int, size: int = 1_000) -> Figures:
    """Kill `size` processes, each at some call of some operation, or let it come to the end of it."""
    figures, began = Figures(), time.monotonic()
    decisions = random.Random(seed)
    states: dict[tuple[str, str, str], list[str]] = {}
    for _ in range(size):
        layout, level = decisions.choice(list(ALL_LAYOUTS)), decisions.choice(LEVELS)
        operation, number = decisions.choice(operations_of(layout)), decisions.randint(1, MOST_CALLS)
        late, unnamed = decisions.random() < 0.5, decisions.random() < 0.5
        when, files = "after" if late else "before", "unnamed" if unnamed else "temporary"
        where = f"{operation}, {layout}, {level}, {when} call {number}, {files} files"
        key = layout, level, operation
        if key not in states:
            states[key] = states_of(os.fspath(folder), *key)

        def work(layout=layout, level=level, operation=operation, number=number, late=late) -> None:
            syscalls = Killing(late=late)
            world = World(os.fspath(folder), layout, level, syscalls, operation)
            syscalls.arm(number)
            perform(operation, world.store)

        with with_files(unnamed=unnamed):
            code = exit_code_of(work)
            figures.kills += code == -signal.SIGKILL
            figures.acknowledged += code == 0
            figures.reads += 1
            if code not in {0, -signal.SIGKILL}:
                figures.complain("broken", f"{where}: the process ended with {code}")
                continue
            try:
                # What came to its end must be there.
                wanted = states[key][1:] if code == 0 else states[key]
                check_after_kill(View(os.fspath(folder), layout), operation, wanted, where)
            except AssertionError as error:
                figures.complain("broken", f"{where}: {error}")
            except ChunkstoreError as error:
                figures.complain("torn", f"{where}: {error!r}")
    figures.seconds = time.monotonic() - began
    return figures

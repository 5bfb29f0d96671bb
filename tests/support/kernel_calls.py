"""A process is killed at every call that the kernel gets to see of one operation, also at those of libraries."""

import os
import re
import signal
from collections import Counter

from failing_calls import check_after_kill
from operations import JOURNAL, SEALING, World, perform, states_of

from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.testing.system_trace import run_under_strace

TRACED = "%file,%desc"
_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
#: Sealing takes so many calls that it is killed at those alone that leave something behind; so are writes to journals.
CHANGING_OF_THE_KERNEL = {"rename", "renameat", "link", "linkat", "unlink", "unlinkat", "fsync", "fdatasync", "write"}


def trace(world, operation, log, *options):
    """Make an operation under strace in a child that may do with the store's records what this process may."""
    owned = dict(world.store._owned._runs)

    def work():
        for run_id, known in owned.items():
            world.store._owned.add(run_id, known)
        perform(operation, world.store)

    return run_under_strace(work, ["-o", log, "-e", f"trace={TRACED}", *options])


def check_killed_at_calls_of_the_kernel(folder, layout, durability, operation):
    """Kill a process that does an operation at each call of the kernel; the state is the old or the new one."""
    states = states_of(folder, layout, "process", operation)
    log = os.path.join(folder, "log")

    def new_world():
        return World(folder, layout, durability, SYSTEM, operation)

    assert trace(new_world(), operation, log) == 0
    with open(log, encoding="ascii") as lines:
        counts = Counter(_CALL.findall(lines.read()))
    assert counts["close"]
    if operation in SEALING or layout == JOURNAL:
        counts = {call: count for call, count in counts.items() if call in CHANGING_OF_THE_KERNEL}
    kills = Counter()
    for call, count in counts.items():  # strace counts each call by itself
        for number in range(1 + (call == "read"), count + 1):  # the first thing that is read is the word to begin
            world = new_world()
            code = trace(world, operation, log, "-e", f"inject={call}:signal=KILL:when={number}")
            assert code in {0, -signal.SIGKILL}
            kills[call] += code != 0
            check_after_kill(world, operation, states, f"{call} {number}")
    # Some calls come only when something has just been changed, and what the child closes of its parent's varies.
    others = {call: count for call, count in counts.items() if call != "close"}
    assert sum(kills[call] for call in others) > sum(others.values()) * 0.6

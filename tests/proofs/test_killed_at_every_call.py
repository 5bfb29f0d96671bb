"""A process that is killed at whichever system call: the state is the old or the new one, and the others go on."""

import errno
import itertools
import os
import re
import signal
from collections import Counter

import pytest
from failing_calls import Killing, check_after_kill, exit_code_of
from operations import (
    JOURNAL,
    LIKE_OTHERS,
    OPERATIONS,
    SEALING,
    TO_JOURNALS,
    View,
    World,
    perform,
    states_of,
)

from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.testing.faults import ALL_CALLS, WRITING_CALLS
from chunkstore.testing.system_trace import run_under_strace
from proofs.torture.crash_states import read_crash_states
from proofs.torture.kills_at_calls import kill_at_calls

pytestmark = pytest.mark.usefixtures("quick_collections")


#: Calls that leave something behind; a kill at any other is one just after these.
CHANGING_CALLS = (*WRITING_CALLS, "close", "unlink", "rmdir")
#: Layout, level, whether files that are being written have no name yet, whether the call does its work before, and the
#: calls.
WAYS = {
    "chunked-process-unnamed-before": ("chunked", "process", "unnamed", False, ALL_CALLS),
    "chunked-process-temporary-after": ("chunked", "process", "temporary", True, CHANGING_CALLS),
    "chunked-step-unnamed-after": ("chunked", "step", "unnamed", True, CHANGING_CALLS),
    "chunked-step-temporary-before": ("chunked", "step", "temporary", False, CHANGING_CALLS),
    "document-process-temporary-before": ("document", "process", "temporary", False, ALL_CALLS),
    "document-step-unnamed-after": ("document", "step", "unnamed", True, CHANGING_CALLS),
}


#: For what seals a run, and for what writes to a journal: whenever there is something that the kill leaves behind.
PACKING_WAYS = {
    "chunked-process-unnamed-after": ("chunked", "process", "unnamed", True, CHANGING_CALLS),
    "journal-step-temporary-after": (JOURNAL, "step", "temporary", True, (*CHANGING_CALLS, "fdatasync", "fstat")),
}


def _ways():
    for name, way in PACKING_WAYS.items():
        for operation in [*SEALING, *(TO_JOURNALS if way[0] == JOURNAL else ())]:
            if operation not in LIKE_OTHERS:
                yield pytest.param(operation, way, id=f"{operation}-{name}")
    for operation in OPERATIONS:
        for name, way in WAYS.items():
            late = way[3]
            if operation not in LIKE_OTHERS or late:
                yield pytest.param(operation, way, id=f"{operation}-{name}")


def killed_anywhere(world, operation, late=False, calls=ALL_CALLS):
    """Yield after each kill, at the first call, the second and so on, where it was; at last after none.

    Args:
        world: makes a new world with the system calls that it is given.
        operation: what is done in it.
        late: whether the call does its work before the kill.
        calls: those that are counted.
    """
    for number in itertools.count(1):

        def work(number=number):
            syscalls = Killing(late=late, only=calls)
            store = world(syscalls).store
            syscalls.arm(number)
            perform(operation, store)

        code = exit_code_of(work)
        assert code in {0, -signal.SIGKILL}, number
        yield f"call {number}"
        if code == 0:
            assert number > 2
            return


@pytest.mark.parametrize(("operation", "way"), list(_ways()))
def test_a_write_that_is_killed_at_any_call_is_done_or_not_done(folder, operation, way, monkeypatch):
    layout, durability, files, late, calls = way
    if files == "temporary":
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    states = states_of(folder, layout, "process", operation)
    view = View(folder, layout)

    def world(syscalls):
        return World(folder, layout, durability, syscalls, operation)

    for where in killed_anywhere(world, operation, late, calls):
        check_after_kill(view, operation, states, where)


@pytest.fixture
def _no_links(monkeypatch):
    """A file system that has neither hard links, nor renames to new names alone, nor files without a name."""

    def no_link():
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def perform(self, call, action):
        return perform_others(self, call, no_link if call.name in ("link", "rename_new") else action)

    perform_others = Killing.perform
    monkeypatch.setattr(Killing, "perform", perform)
    monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)


@pytest.mark.usefixtures("_no_links")
@pytest.mark.parametrize("operation", ["add", "add what another added", "append first"])
def test_where_there_are_no_links_a_kill_leaves_at_most_an_empty_file_that_is_reported(folder, operation):
    states = states_of(folder, "chunked", "process", operation)
    view, reserved = View(folder, "chunked"), 0
    for where in killed_anywhere(lambda calls: World(folder, "chunked", "process", calls), operation):
        reserved += view.remove_reserved()
        check_after_kill(view, operation, states, where)
    assert reserved


@pytest.mark.usefixtures("_no_links")
def test_where_there_are_no_links_a_document_of_a_killed_writer_can_be_deleted_and_made_anew(folder):
    states = states_of(folder, "document", "process", "create")
    view = View(folder, "document")
    for where in killed_anywhere(lambda calls: World(folder, "document", "process", calls), "create"):
        others = view.healthy()
        if [summary.run_id for summary in others.list_runs() if summary.problem]:
            others.delete_run("new")
        check_after_kill(view, "create", states, where)


# --- as the kernel sees it -------------------------------------------------------------------------------------------

TRACED = "%file,%desc"
_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
#: Layout, level and operations that are killed at every call that the kernel gets to see, also those of libraries.
OF_THE_KERNEL = {
    ("chunked", "process"): "create,add run,add,add again,update,set parameters,append,delete,sync",
    ("chunked", "step"): "create,add,add again,update own,set first parameters,append first,update run,delete,sync",
    ("document", "process"): "create,add again,update,delete",
    (JOURNAL, "process"): "add",
    (JOURNAL, "step"): "append",
}
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


@pytest.mark.usefixtures("_strace")
@pytest.mark.parametrize(
    ("layout", "durability", "operation"),
    [
        *((*where, name) for where, names in OF_THE_KERNEL.items() for name in names.split(",")),
        ("chunked", "process", "seal"),
        ("chunked", "process", "unseal"),
    ],
)
def test_a_write_that_is_killed_at_any_call_of_the_kernel_is_done_or_not_done(folder, layout, durability, operation):
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


def test_random_kills_in_random_ways(folder):
    figures = kill_at_calls(folder, 1, 100)
    figures.check()
    assert figures.kills > 30


@pytest.mark.usefixtures("_strace")
@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_random_programs_lose_nothing_when_the_power_goes(folder, store_type):
    figures = read_crash_states(folder, 1, 2, store_type=store_type)
    figures.check()
    assert figures.crash_states > 100

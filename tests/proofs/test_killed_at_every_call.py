"""A process that is killed at whichever system call: the state is the old or the new one, and the others go on."""

import errno
import os

import pytest
from failing_calls import Killing, check_after_kill, check_killed_anywhere, killed_anywhere
from kernel_calls import check_killed_at_calls_of_the_kernel
from operations import (
    JOURNAL,
    LIKE_OTHERS,
    OPERATIONS,
    SEALING,
    TO_JOURNALS,
    View,
    World,
    states_of,
)
from zygote import in_small_process

from chunkstore.testing.faults import ALL_CALLS, WRITING_CALLS
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


@pytest.mark.thorough
@pytest.mark.parametrize(("operation", "way"), list(_ways()))
def test_a_write_that_is_killed_at_any_call_is_done_or_not_done(folder, operation, way):
    layout, durability, files, late, calls = way
    in_small_process(check_killed_anywhere, folder, operation, layout, durability, late, calls, files == "unnamed")


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

#: Layout, level and operations that are killed at every call that the kernel gets to see, also those of libraries.
OF_THE_KERNEL = {
    ("chunked", "process"): "create,add run,add,add again,update,set parameters,append,delete,sync",
    ("chunked", "step"): "create,add,add again,update own,set first parameters,append first,update run,delete,sync",
    ("document", "process"): "create,add again,update,delete",
    (JOURNAL, "process"): "add",
    (JOURNAL, "step"): "append",
}


@pytest.mark.usefixtures("_strace")
@pytest.mark.parametrize(
    ("layout", "durability", "operation"),
    [
        *((*where, name) for where, names in OF_THE_KERNEL.items() for name in names.split(",")),
        ("chunked", "process", "seal"),
        ("chunked", "process", "unseal"),
        (JOURNAL, "process", "seal"),
        (JOURNAL, "process", "unseal"),
    ],
)
def test_a_write_that_is_killed_at_any_call_of_the_kernel_is_done_or_not_done(folder, layout, durability, operation):
    in_small_process(check_killed_at_calls_of_the_kernel, folder, layout, durability, operation)


@pytest.mark.thorough
def test_random_kills_in_random_ways(folder):
    figures = in_small_process(kill_at_calls, folder, 1, 100)
    figures.check()
    assert figures.kills > 30


@pytest.mark.usefixtures("_strace")
@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_random_programs_lose_nothing_when_the_power_goes(folder, store_type):
    figures = read_crash_states(folder, 1, 2, store_type=store_type)
    figures.check()
    assert figures.crash_states > 100

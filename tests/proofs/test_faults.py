"""Whichever system call fails: the state is the old or the new one, the error says why, and nothing is left behind."""

import errno
import itertools
import json

import pytest
from descriptors import descriptors_into
from failing_calls import Once, check_error, check_one_call
from operations import (
    ENDED,
    JOURNAL,
    LAYOUTS,
    LIKE_OTHERS,
    OPERATIONS,
    PUBLISHING,
    RUN,
    SEALING,
    TO_JOURNALS,
    TO_NEW_RUNS,
    World,
    perform,
)

from chunkstore.errors import (
    ChunkstoreError,
)
from chunkstore.records.models import RunLog
from chunkstore.testing.faults import ALL_CALLS, WRITING_CALLS
from proofs.torture.faults import fail_calls

pytestmark = pytest.mark.usefixtures("quick_collections")

READS = {
    "get run": lambda store: store.get_run_log(RUN),
    "get run without steps": lambda store: store.get_run_log(RUN, full=False),
    "get run as JSON": lambda store: json.loads(store.get_run_json(RUN)),
    "get step": lambda store: store.get_step_log(RUN, "foreign"),
    "get step without branches": lambda store: store.get_step_log(RUN, "foreign", full=False),
    "get own step": lambda store: store.get_step_log(RUN, "owned"),
    "get branch": lambda store: store.get_branch_log(RUN, "foreign.a"),
    "get branch without steps": lambda store: store.get_branch_log(RUN, "foreign.a", full=False),
    "get parameters": lambda store: store.get_parameters(RUN),
    "get parameters of a branch": lambda store: store.get_parameters(RUN, "owned.b"),
    "get parameters that nobody set": lambda store: store.get_parameters(RUN, "foreign.b"),
    "has run": lambda store: store.has_run(RUN),
    "has no run": lambda store: store.has_run("absent"),
    "has step": lambda store: store.has_step_log(RUN, "foreign"),
    "has no step": lambda store: store.has_step_log(RUN, "absent"),
    "has branch": lambda store: store.has_branch_log(RUN, "foreign.a"),
    "has no branch": lambda store: store.has_branch_log(RUN, "foreign.absent"),
    "list": lambda store: list(store.list_runs()),
    "sync": lambda store: store.sync(RUN),
}


def check_every_call(folder, layout, durability, operation, **fault):
    """Let each call of an operation fail, the first, the second and so on, until one goes beyond the last."""
    expected = World(folder, layout, durability, Once(), operation)
    states = [expected.state()]
    perform(operation, expected.store)
    states.append(expected.state())
    del expected
    descriptors = descriptors_into(folder)
    numbers = itertools.count(1)
    while True:
        world = World(folder, layout, durability, Once(**fault), operation)
        if not check_one_call(world, operation, next(numbers), states, fault):
            break
        del world
    del world
    # A file is removed, and a run made durable, without a byte being written.
    assert next(numbers) > 2 or operation in {"delete", "sync"} or "half" in fault
    assert len(descriptors_into(folder)) <= len(descriptors)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in LIKE_OTHERS])
@pytest.mark.parametrize("durability", ["process", "step"])
@pytest.mark.parametrize("layout", LAYOUTS)
class TestEveryCallOfEveryWrite:
    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.ESTALE], ids=errno.errorcode.get)
    def test_fails_once(self, folder, layout, durability, operation, code):
        check_every_call(folder, layout, durability, operation, code=code)

    def test_fails_after_doing_its_work(self, folder, layout, durability, operation):
        check_every_call(folder, layout, durability, operation, code=errno.EIO, late=True)

    def test_fails_from_then_on_as_on_a_full_disk(self, folder, layout, durability, operation):
        check_every_call(folder, layout, durability, operation, code=errno.ENOSPC, persistent=True, only=WRITING_CALLS)


#: Ways for what seals a run, and for what writes to a journal: level, error number, and how the call fails.
PACKING_WAYS = [
    ("process", errno.EIO, {}),
    ("step", errno.ENOSPC, {"persistent": True, "only": WRITING_CALLS}),
    ("run", errno.ESTALE, {"late": True}),
    ("run", errno.ENOSPC, {"half": True}),
]


def _packing():
    for layout, operations in (("chunked", SEALING), (JOURNAL, [*TO_JOURNALS, *SEALING])):
        for operation in operations:
            for durability, code, way in PACKING_WAYS:
                alike = operation in SEALING and ("half" in way or (layout == JOURNAL and durability != "step"))
                if operation not in LIKE_OTHERS and not alike:
                    name = "-".join([layout, operation, durability, errno.errorcode[code], *way])
                    yield pytest.param(layout, durability, operation, {"code": code, **way}, id=name)


@pytest.mark.parametrize(("layout", "durability", "operation", "fault"), list(_packing()))
def test_every_call_of_sealing_and_of_writing_to_a_journal_fails(folder, layout, durability, operation, fault):
    check_every_call(folder, layout, durability, operation, **fault)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("code", [errno.EMFILE, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get)
def test_every_open_fails_once_with_what_opens_fail_with(folder, operation, code):
    check_every_call(folder, "chunked", "run", operation, code=code, only=("open", "create", "mkdir"))


ONCE, FROM_THEN_ON, LATE, HALF = {}, {"persistent": True}, {"late": True}, {"half": True}
UNNAMED, TEMPORARY, NO_LINKS = "unnamed", "temporary", "no links"
#: Each error number once and from then on, each level, and each way to make files.
OTHER_WAYS = [
    ("run", UNNAMED, errno.EDQUOT, ONCE),
    ("step", UNNAMED, errno.EDQUOT, FROM_THEN_ON),
    ("process", TEMPORARY, errno.EACCES, ONCE),
    ("step", NO_LINKS, errno.EACCES, FROM_THEN_ON),
    ("step", NO_LINKS, errno.EMFILE, ONCE),
    ("run", TEMPORARY, errno.EMFILE, FROM_THEN_ON),
    ("run", NO_LINKS, errno.ESTALE, ONCE),
    ("process", UNNAMED, errno.ESTALE, FROM_THEN_ON),
    ("step", TEMPORARY, errno.EIO, ONCE),
    ("process", NO_LINKS, errno.EIO, FROM_THEN_ON),
    ("run", TEMPORARY, errno.EIO, LATE),
    (ENDED, UNNAMED, errno.EIO, ONCE),
    (ENDED, TEMPORARY, errno.ENOSPC, FROM_THEN_ON),
    # A write that takes half of the bytes before the disk is full.
    ("run", UNNAMED, errno.ENOSPC, HALF),
    ("run", TEMPORARY, errno.ENOSPC, HALF),
    ("run", NO_LINKS, errno.ENOSPC, HALF),
]


def _other_ways():
    """Yield layout, operation and way, where the way to make files makes a difference."""
    for operation in OPERATIONS:
        for durability, files, code, way in OTHER_WAYS:
            for layout in LAYOUTS:
                # Only a new file is made in another way than a replaced one; a document is one for its first write.
                new = operation in (PUBLISHING if layout == "chunked" else TO_NEW_RUNS)
                alike = not new and (files == NO_LINKS if layout == "chunked" else files != UNNAMED)
                if (alike and way is not FROM_THEN_ON) or (durability == ENDED and operation in TO_NEW_RUNS):
                    continue
                name = "-".join([layout, operation, durability, files, errno.errorcode[code], *way])
                fault = {"code": code, "links": files != NO_LINKS, **way}
                yield pytest.param((layout, durability, operation), files, fault, id=name)


@pytest.mark.parametrize(("what", "files", "fault"), list(_other_ways()))
def test_every_call_fails_in_every_other_way(folder, what, files, fault, monkeypatch):
    if files != UNNAMED:
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    check_every_call(folder, *what, **fault)


def says_what_is_missing(result):
    if isinstance(result, RunLog):
        return result.problems
    if isinstance(result, list):
        return [summary.problem for summary in result if summary.problem]
    return isinstance(result, dict) and result.get("problems")


@pytest.mark.parametrize("way", [ONCE, FROM_THEN_ON], ids=["once", "from then on"])
@pytest.mark.parametrize(
    "code",
    [errno.EIO, errno.EACCES, errno.EMFILE, errno.ESTALE, errno.ENOSPC, errno.EDQUOT],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_read_is_whole_or_says_what_is_missing(folder, layout, read, code, way, caplog):
    check_every_call_of_a_read(World(folder, layout, "run", Once(code, **way)), read, code, caplog)


@pytest.mark.parametrize(("layout", "before"), [("chunked", "seal again"), (JOURNAL, "")])
@pytest.mark.parametrize("read", READS)
def test_a_read_of_a_packed_run_is_whole_or_says_what_is_missing(folder, read, layout, before, caplog):
    check_every_call_of_a_read(World(folder, layout, "run", Once(errno.EACCES), before), read, errno.EACCES, caplog)


def check_every_call_of_a_read(world, read, code, caplog):
    expected = repr(READS[read](world.store))
    before, descriptors = world.state(), descriptors_into(world.logs)
    for number in itertools.count(1):
        world.syscalls.arm(number)
        caplog.clear()
        error = None
        try:
            result = READS[read](world.store)
        except ChunkstoreError as raised:
            error = raised
        failed = list(world.syscalls.failed)
        world.syscalls.heal()
        where = f"call {number}: {failed}: {error!r}"
        if error is not None:
            check_error(error, code, where)
        else:
            # What is missing inside a single step or branch is logged.
            assert repr(result) == expected or says_what_is_missing(result) or caplog.records, where
        assert repr(READS[read](world.store)) == expected, where
        if not failed:
            break
    assert number > 1
    assert world.state() == before
    assert world.leftovers() == []
    del error, result
    assert len(descriptors_into(world.logs)) <= len(descriptors)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_short_writes_and_reads_change_nothing(folder, layout, operation):
    expected = World(folder, layout, "run", Once())
    OPERATIONS[operation](expected.store)
    after = expected.state()
    world = World(folder, layout, "run", Once(short_writes=True))
    OPERATIONS[operation](world.store)
    assert world.state() == after
    assert set(ALL_CALLS) >= set(world.syscalls.counts)


@pytest.mark.thorough
def test_random_calls_fail_in_random_ways(folder):
    figures = fail_calls(folder, 1, 300)
    figures.check()
    assert figures.faults > 100

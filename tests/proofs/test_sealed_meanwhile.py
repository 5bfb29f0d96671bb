"""A run is sealed, or unsealed, by somebody else between any two system calls of a read or write: nobody notices."""

import itertools
import json
import os

import pytest
from operations import ALL_LAYOUTS, ENDED, JOURNAL, LIKE_OTHERS, OPERATIONS, RUN, TO_JOURNALS, TO_NEW_RUNS, World

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import LockTimeoutError, RunLogNotFoundError
from chunkstore.records.models import PACKED_FORMAT
from chunkstore.testing.faults import CountingSyscalls

pytestmark = pytest.mark.usefixtures("quick_collections")

READS = {
    "get run": lambda store: store.get_run_log(RUN, strict=True),
    "get run as JSON": lambda store: json.loads(store.get_run_json(RUN)),
    "iterate": lambda store: list(store.iter_records(RUN)),
    "get step": lambda store: store.get_step_log(RUN, "foreign"),
    "get own step": lambda store: store.get_step_log(RUN, "owned"),
    "get branch": lambda store: store.get_branch_log(RUN, "foreign.a"),
    "get parameters": lambda store: store.get_parameters(RUN),
    "get parameters of a branch": lambda store: store.get_parameters(RUN, "owned.b"),
    "get parameters that nobody set": lambda store: store.get_parameters(RUN, "foreign.b"),
    "has step": lambda store: store.has_step_log(RUN, "foreign"),
    "has no step": lambda store: store.has_step_log(RUN, "absent"),
    "has branch": lambda store: store.has_branch_log(RUN, "foreign.a"),
}
#: What somebody does before a call, and what before each one after that, by turns.
MEANWHILE = {
    "seal": ["seal"],
    "unseal": ["unseal"],
    "seal and unseal": ["seal", "unseal"],
    "unseal and seal": ["unseal", "seal"],
}


class Meanwhile(CountingSyscalls):
    """Lets somebody else do things before the Nth call from when it is armed, one before each."""

    def __init__(self):
        super().__init__()
        self._left, self._others, self._store = 0, [], None

    def arm(self, at, store, actions):
        self._left, self._others, self._store = at, list(actions), store

    @property
    def is_over(self):
        return not self._others

    def perform(self, call, action):
        if self._others:
            self._left -= 1
            if self._left <= 0:
                other = self._others.pop(0)
                try:
                    getattr(self._store, other)(RUN)
                except (LockTimeoutError, RunLogNotFoundError):
                    pass  # whoever is watched holds the lock, or has just deleted the run
        return super().perform(call, action)


def new_world(folder, layout, meanwhile, syscalls):
    """Return a world whose run has ended, and is sealed if it is going to be unsealed first."""
    world = World(folder, layout, ENDED, syscalls)
    world.healthy().update_step_log(RUN, "foreign", lambda found: found.user_defined_metrics.update(n=1))
    world.healthy().update_branch_log(RUN, "foreign.a", lambda found: setattr(found, "status", "FAIL"))
    if meanwhile.startswith("unseal"):
        world.healthy().seal(RUN)
    others = ALL_LAYOUTS[layout](DirectoryBackend(world.logs, durability="process", lock_timeout=0))
    return world, others


@pytest.mark.parametrize(
    ("layout", "meanwhile"), [*(("chunked", each) for each in MEANWHILE), (JOURNAL, "seal"), (JOURNAL, "unseal")]
)
@pytest.mark.parametrize("read", READS)
def test_a_read_finds_all_however_a_run_is_packed_meanwhile(folder, layout, read, meanwhile):
    world, others = new_world(folder, layout, meanwhile, Meanwhile())
    expected = seen(READS[read](world.store))
    for number in itertools.count(1):
        getattr(others, "unseal" if meanwhile.startswith("seal") else "seal")(RUN)
        world.syscalls.arm(number, others, MEANWHILE[meanwhile])
        assert seen(READS[read](world.store)) == expected, f"call {number}"
        if not world.syscalls.is_over:
            break
    assert number > 1


@pytest.mark.parametrize("meanwhile", ["seal", "unseal and seal"])
@pytest.mark.parametrize(
    ("layout", "read"), [*(("chunked", read) for read in READS if "no" not in read), (JOURNAL, "get run")]
)
def test_a_read_finds_what_is_newer_than_the_sealed_file_though_it_is_sealed_again_meanwhile(
    folder, layout, read, meanwhile
):
    world = World(folder, layout, ENDED, Meanwhile(), "seal again")
    world.healthy().set_parameters(RUN, {"a": 2, "late": 1})
    world.healthy().set_parameters(RUN, {"p": 2}, "owned.b")
    others = world.healthy("process")
    expected = seen(READS[read](world.store))
    path = os.path.join(world.logs, RUN)
    files = files_in(path)
    for number in itertools.count(1):
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        for name, data in files.items():
            with open(os.path.join(path, name), "wb") as file:
                file.write(data)
        world.syscalls.arm(number, others, MEANWHILE[meanwhile])
        assert seen(READS[read](world.store)) == expected, f"call {number}"
        if not world.syscalls.is_over:
            break


def files_in(folder):
    files = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            files[name] = file.read()
    return files


def seen(result):
    """Return what a read returned, but for the number of the format, which says that a run was sealed."""
    if hasattr(result, "run_config"):
        result.run_config = {}
    if isinstance(result, dict):
        result.pop("run_config", None)
    return repr(result)


def check_mark(world):
    """Fail unless the run's own record says that chunks are packed, if any are: older versions look at that alone."""
    if os.path.isdir(os.path.join(world.logs, RUN)):
        packed = [name for name in os.listdir(os.path.join(world.logs, RUN)) if name.endswith(".jsonl")]
        packed = [name for name in packed if not name.startswith("Metric-")]
        notes = world.healthy().get_run_log(RUN, full=False).notes
        assert notes["format"] == PACKED_FORMAT or not packed, packed


#: Chunks that others own, that we own, that are packed by themselves, and that consist of lines.
OFTEN_PACKED = ("add again", "update", "put what another added", "set parameters", "append")


def _writes():
    for operation in OPERATIONS:
        if operation not in LIKE_OTHERS and operation not in TO_NEW_RUNS:
            yield "chunked", operation, "seal"
        if operation in TO_JOURNALS and operation not in TO_NEW_RUNS:
            yield JOURNAL, operation, "seal"
            yield JOURNAL, operation, "unseal and seal"
    for operation in OFTEN_PACKED:
        yield "chunked", operation, "unseal and seal"


@pytest.mark.parametrize(("layout", "operation", "meanwhile"), list(_writes()))
def test_a_write_counts_however_a_run_is_packed_meanwhile(folder, layout, operation, meanwhile):
    world, _ = new_world(folder, layout, meanwhile, Meanwhile())
    OPERATIONS[operation](world.store)
    expected = world.state()
    for number in itertools.count(1):
        world, others = new_world(folder, layout, meanwhile, Meanwhile())
        world.syscalls.arm(number, others, MEANWHILE[meanwhile])
        OPERATIONS[operation](world.store)
        assert world.state() == expected, f"call {number}"
        check_mark(world)
        if not world.syscalls.is_over:
            break
    assert number > 2
    if operation != "delete":
        world.healthy().seal(RUN)
        assert world.state() == expected
        world.healthy().unseal(RUN)
        assert world.state() == expected

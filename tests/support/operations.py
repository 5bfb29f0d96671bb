"""Every call of a store that writes, and a small world to make it in."""

import functools
import itertools
import os
import shutil

from recorded import step

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.errors import CorruptChunkError
from chunkstore.names import ASIDE_PREFIX, TEMPORARY_PREFIX
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore

LAYOUTS = {"chunked": ChunkedStore, "document": DocumentStore}
JOURNAL = "journal"
#: A journal is written to by adding records and points alone, so it is tried with fewer operations.
ALL_LAYOUTS = {**LAYOUTS, JOURNAL: functools.partial(ChunkedStore, options=StoreOptions(container="journal"))}
RUN, ENDED = "run", "ended"


def branch(name, **fields):
    return BranchLog(internal_name=name, **fields)


def whole_run(run_id):
    inner = StepLog(name="inner", internal_name="outer.b.inner")
    outer = step("outer", branches={"outer.b": branch("outer.b", steps={"outer.b.inner": inner}, parameters={"x": 1})})
    return RunLog(run_id=run_id, status="SUCCESS", steps={"outer": outer}, parameters={"a": 1})


def set_message(record):
    record.message = "x"


def set_status(record):
    record.status = "SUCCESS"


def a_point(store, step_name, series):
    store.append_metrics(RUN, step_name, {series: [MetricPoint(1, 2)]})


OPERATIONS = {
    "create": lambda store: store.create_run_log("new", tag="t", parameters={"a": 1}),
    "add run": lambda store: store.add_run_log(whole_run("new")),
    "add": lambda store: store.add_step_log(RUN, step("added")),
    "add again": lambda store: store.add_step_log(RUN, step("owned", message="again")),
    "add what another added": lambda store: store.add_step_log(RUN, step("foreign", message="newer")),
    "put": lambda store: store.put_step_log(RUN, step("added")),
    "put again": lambda store: store.put_step_log(RUN, step("owned", message="again")),
    "put what another added": lambda store: store.put_step_log(RUN, step("foreign", message="newer")),
    "add branch": lambda store: store.add_branch_log(RUN, branch("owned.c")),
    "add branch again": lambda store: store.add_branch_log(RUN, branch("owned.b", status="SUCCESS")),
    "add branch that another added": lambda store: store.add_branch_log(RUN, branch("foreign.a", status="SUCCESS")),
    "put branch": lambda store: store.put_branch_log(RUN, branch("owned.c")),
    "put branch again": lambda store: store.put_branch_log(RUN, branch("owned.b", status="SUCCESS")),
    "put branch that another added": lambda store: store.put_branch_log(RUN, branch("foreign.a", status="SUCCESS")),
    "update own": lambda store: store.update_step_log(RUN, "owned", set_message),
    "update": lambda store: store.update_step_log(RUN, "foreign", set_message),
    "update own branch": lambda store: store.update_branch_log(RUN, "owned.b", set_status),
    "update branch": lambda store: store.update_branch_log(RUN, "foreign.a", set_status),
    "update run": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS")),
    "tag run": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "tag", "new")),
    "set parameters": lambda store: store.set_parameters(RUN, {"b": 2}),
    "set parameters that are missing": lambda store: store.set_parameters(RUN, {"a": 7, "b": 2}, overwrite=False),
    "set first parameters": lambda store: store.set_parameters(RUN, {"b": 2}, branch="foreign.b"),
    "set parameters of a branch": lambda store: store.set_parameters(RUN, {"b": 2}, branch="owned.b"),
    "append": lambda store: a_point(store, "owned", "more"),
    "append first": lambda store: a_point(store, "foreign", "first"),
    "sync": lambda store: store.sync(RUN),
    "delete": lambda store: store.delete_run(RUN),
}
#: Done to a run that has ended; what they leave is what was there before, in other files.
SEALING = {
    "seal": lambda store: store.seal(RUN),
    "seal again": lambda store: store.seal(RUN),
    "unseal": lambda store: store.unseal(RUN),
}
#: What writes to a journal.
TO_JOURNALS = ("create", "add", "add again", "add what another added", "add branch", "append", "append first")
#: Done again, they add to what the first try may have done.
NOT_REPEATED = ("append", "append first", "delete")
#: They go the same ways as what is done to steps, so they are tried in fewer ways.
LIKE_OTHERS = {name for name in OPERATIONS if "branch" in name} | {"set parameters that are missing", "tag run"}
#: They may make a file under a name that is new to all.
PUBLISHING = {name for name in OPERATIONS if name.startswith(("create", "add", "put", "append first"))}
#: They are not done to the run, so it makes no difference whether that has ended.
TO_NEW_RUNS = ("create", "add run")


class View:
    """What others see of a `World`."""

    def __init__(self, folder, layout):
        self.logs = os.path.join(folder, "parent", "logs")
        self.layout = ALL_LAYOUTS[layout]

    def healthy(self, durability="run"):
        return self.layout(DirectoryBackend(self.logs, durability=durability, lock_timeout=1))

    def state(self):
        return state_of(self.healthy())

    def leftovers(self):
        names = itertools.chain.from_iterable([*folders, *files] for _, folders, files in os.walk(self.logs))
        return [name for name in names if name.startswith((".tmp-", ".deleted-"))]

    def check_packing(self, operation):
        """Fail unless a run is sealed, or is not any more, and nothing lies set aside."""
        files = [name for name in os.listdir(os.path.join(self.logs, RUN)) if not name.startswith(TEMPORARY_PREFIX)]
        sealed = [name for name in files if name.startswith("Sealed-")]
        assert not [name for name in files if name.startswith(ASIDE_PREFIX)], files
        if operation == "unseal":
            assert not sealed, files
        else:
            assert sorted(files) == sorted([".lock", "RunLog.json", *sealed[:1]]), files

    def remove_reserved(self):
        """Remove the empty files that reserve a name where there are no links, each of which must be reported.

        Returns:
            How many there were.
        """
        reported, removed = set(), 0
        for summary in self.healthy().list_runs():
            reported.add(f"{summary.run_id}.json" if summary.problem else "")
            try:
                reported.update(problem.file for problem in self.healthy().get_run_log(summary.run_id).problems)
            except CorruptChunkError as error:
                reported.add(error.file)
        paths = [os.path.join(where, name) for where, _, names in os.walk(self.logs) for name in names]
        for path in paths:
            if path.endswith((".json", ".jsonl")) and ".tmp-" not in path and not os.path.getsize(path):
                # A file of metrics without a line is whole.
                assert path.endswith(".jsonl") or os.path.basename(path) in reported, path
                os.unlink(path)
                removed += 1
        return removed


class World(View):
    """A folder with a run, and a store in it that owns some of the run's records.

    Args:
        folder: where; what is in it is removed.
        layout: one of `LAYOUTS`.
        durability: of the store; `ENDED` for the level `run` and a run that has finished.
        syscalls: of the store.
        operation: what is going to be done; some of those in `SEALING` need a run that is sealed.
    """

    def __init__(self, folder, layout, durability, syscalls, operation=""):
        super().__init__(folder, layout)
        shutil.rmtree(os.path.dirname(self.logs), ignore_errors=True)
        healthy = self.healthy("process")
        begin(healthy)
        self.syscalls = syscalls
        level = "run" if durability == ENDED else durability
        backend = DirectoryBackend(self.logs, durability=level, lock_timeout=1, syscalls=syscalls)
        self.store = self.layout(backend)
        go_on(self.store, healthy, operation, has_ended=durability == ENDED)


def begin(healthy):
    """Record a run with a step that the store of the operations has not written."""
    inner = StepLog(name="inner", internal_name="foreign.a.inner")
    foreign = step("foreign", branches={"foreign.a": branch("foreign.a", steps={inner.internal_name: inner})})
    healthy.add_run_log(RunLog(run_id=RUN, status="PROCESSING", steps={"foreign": foreign}, parameters={"a": 1}))


def go_on(store, healthy, operation, *, has_ended=False):
    """Add to the run what is the store's own, and end and seal it as an operation needs it."""
    store.add_step_log(RUN, step("owned", branches={"owned.b": branch("owned.b", parameters={"p": 1})}))
    store.append_metrics(RUN, "owned", {"m": [MetricPoint(1, 1)]})
    if has_ended or operation in SEALING:
        healthy.update_run_log(RUN, lambda log: setattr(log, "status", "FAIL"))
    if operation in {"seal again", "unseal"}:
        healthy.seal(RUN)
        store.add_step_log(RUN, step("owned", message="after it was sealed"))
        store.update_step_log(RUN, "foreign", set_message)
        a_point(store, "owned", "m")


def state_of(store):
    """Return all runs of a store as others see them."""
    result = {}
    for summary in store.list_runs():
        log = store.get_run_log(summary.run_id, strict=True)
        log.run_config = {}
        result[summary.run_id] = log
    return repr(sorted(result.items()))


def perform(operation, store):
    """Do one of `OPERATIONS` or `SEALING`."""
    return {**OPERATIONS, **SEALING}[operation](store)


def states_of(folder, layout, durability, operation):
    """Return what others see before an operation and after it."""
    world = World(folder, layout, durability, Syscalls(), operation)
    before = world.state()
    perform(operation, world.store)
    return [before, world.state()]

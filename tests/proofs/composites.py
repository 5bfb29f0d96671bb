"""A step with branches and steps inside, and stores of every layout to record it in."""

import pytest

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore

RUN = "run"
LAYOUTS = {
    "files": ChunkedStore,
    "journal": lambda backend: ChunkedStore(backend, StoreOptions(container="journal")),
    "document": DocumentStore,
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))


def inner(name):
    return StepLog(name="in", internal_name=f"{name}.in", status="SUCCESS")


def branch(name, **fields):
    steps = {f"{name}.in": inner(name)}
    return BranchLog(internal_name=name, status="SUCCESS", steps=steps, parameters={"name": name}, **fields)


def composite(**fields):
    branches = {f"m.{number}": branch(f"m.{number}") for number in range(3)}
    return StepLog(name="m", internal_name="m", status="SUCCESS", branches=branches, **fields)


def new_store(top, layout, syscalls):
    store = layout(DirectoryBackend(f"{top}/logs", syscalls=syscalls))
    store.create_run_log(RUN)
    store.add_step_log(RUN, StepLog(name="s", internal_name="s"))
    return store


def state(top, layout):
    log = layout(DirectoryBackend(f"{top}/logs")).get_run_log(RUN)
    log.run_config = {}
    return log

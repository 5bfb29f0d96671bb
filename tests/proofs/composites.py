"""A step with branches and steps inside, and a store to record it in."""

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.records.models import BranchLog, StepLog

RUN = "run"


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

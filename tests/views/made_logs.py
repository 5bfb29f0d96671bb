"""Run logs that tests make without a store."""

from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st
from msgspec import UNSET

from chunkstore.clock import format_time
from chunkstore.records.models import BranchLog, CodeIdentity, DataCatalog, Problem, RunLog, StepAttempt, StepLog
from chunkstore.testing.strategies import json_objects, step_trees

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(seconds):
    return format_time(BEGIN + timedelta(seconds=seconds))


def attempt(seconds=1.0, start=0.0, status="SUCCESS", **fields):
    return StepAttempt(start_time=at(start), end_time=at(start + seconds), status=status, **fields)


def made_step(internal_name, status="SUCCESS", seconds=1.0, **fields):
    fields.setdefault("attempts", [attempt(seconds, status=status)])
    return StepLog(name=internal_name.rpartition(".")[2], internal_name=internal_name, status=status, **fields)


def made_run(*steps, run_id="run", status="SUCCESS", seconds=10.0, **fields):
    notes = {"chunkstore": {"created": at(0), "finished": at(seconds)}}
    config = {**fields.pop("run_config", {}), **notes}
    return RunLog(
        run_id=run_id, status=status, steps={step.internal_name: step for step in steps}, run_config=config, **fields
    )


def made_map(name, count, *, change=lambda number, step: None, **fields):
    """Return a map with branches `0`, `1`, …, each with one step `work`, which `change` may alter."""
    branches = {}
    for number in range(count):
        branch = f"{name}.{number}"
        step = made_step(f"{branch}.work", user_defined_metrics={"loss": number / 10}, result=number)
        change(number, step)
        branches[branch] = BranchLog(
            internal_name=branch, status=step.status, steps={step.internal_name: step}, item=number
        )
    return made_step(name, step_type="map", branches=branches, **fields)


def git(commit, message=""):
    return CodeIdentity(code_identifier=commit, code_identifier_type="git", code_identifier_message=message)


def function(digest, where="work.load"):
    return CodeIdentity(code_identifier=digest, code_identifier_type="function", code_identifier_message=where)


def data(name, digest, stage="put", path=""):
    return DataCatalog(name=name, data_hash=digest, stage=stage, catalog_relative_path=path)


#: Any run, as it could be read from a store.
run_logs = st.builds(
    lambda steps, parameters, tag, problems: made_run(
        *steps, parameters=parameters, tag=tag, found_problems=problems or UNSET
    ),
    st.lists(step_trees(), max_size=3, unique_by=lambda step: step.internal_name),
    json_objects,
    st.none() | st.text(),
    st.lists(st.builds(Problem, st.sampled_from(["corrupt", "orphan"]), st.text(), st.text()), max_size=2),
)

"""Runs of any age, and what of them is gone after somebody has cleaned up."""

import time
from datetime import datetime, timedelta, timezone

from processes import Forked

from chunkstore import StepLog
from chunkstore.clock import format_time
from chunkstore.maintenance.retention import Rule, collect, plan_retention
from chunkstore.records.models import NOTES, RunLog


def days_ago(days):
    return format_time(datetime.now(timezone.utc) - timedelta(days=days))


def add(store, run_id, days=0.0, status="SUCCESS", *, tag="", original="", finished=True):
    notes = {"created": days_ago(days + 0.01)} | ({"finished": days_ago(days)} if finished else {})
    log = RunLog(run_id=run_id, status=status, tag=tag, original_run_id=original, use_cached=bool(original))
    log.run_config[NOTES] = notes
    log.steps["s"] = StepLog(name="s", internal_name="s", status=status)
    store.add_run_log(log)
    return run_id


def runs(store):
    return {run.run_id for run in store.list_runs()}


def gone(store, with_data=False, **rule):
    """Delete by a rule; return which runs are gone."""
    before = runs(store)
    plan = plan_retention(store, Rule(**rule), with_data=with_data)
    outcomes = list(collect(store, plan, with_data=with_data))
    assert {outcome.run.run_id for outcome in outcomes if outcome.deleted} == before - runs(store)
    return before - runs(store)


def abandon(store, run_id):
    """Leave a run behind that its owner has died recording."""

    def work(tell):
        run = store.start_run(run_id)
        tell("started")
        time.sleep(60)
        run.finish()

    with Forked(work) as child:
        assert child.wait_for_line() == "started"
        child.kill()


def record_with_data(store, tmp_path, run_id="run"):
    (tmp_path / "data").write_bytes(b"x" * 100_000)
    with store.start_run(run_id) as run, run.step("put") as step:
        step.put_data(tmp_path / "data", "folder/data")
    return tmp_path / ".catalog" / run_id

"""Whatever starts of one branch do, none hides another, and the one counts whose result came back."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from support.starts import END, INNER, METRIC, STEP, expected, perform, programs

import chunkstore
from chunkstore.records.attempts import counted_attempt, left_behind
from chunkstore.stores.reading import FollowedRun

CONTAINERS = {
    "files": ("chunked-fs", {}),
    "journals": ("chunked-fs", {"container": "journal"}),
    "document": ("file-system", {}),
}


def opened(kind, folder):
    name, options = CONTAINERS[kind]
    return chunkstore.open_store(name, log_folder=folder / "logs", catalog_folder=folder / "catalog", **options)


def check(log, program, starts):
    status, statuses, counted = expected(program, starts)
    branch = log.steps["m"].branches["m.1"]
    assert (branch.status, [attempt.status for attempt in branch.attempts]) == (status, statuses)
    assert counted_attempt(branch) == counted
    assert [attempt.attempt_number for attempt in branch.attempts] == list(range(1, len(starts) + 1))
    assert [(attempt.host, attempt.pid, attempt.start) for attempt in branch.attempts] == [
        ("here", start.number, start.path) for start in starts
    ]
    counting = starts[counted - 1]
    if counting.done > STEP:
        step = branch.steps["m.1.work"]
        number = step.attempts[counted_attempt(step) - 1].pid
        assert number == counting.number
        assert len(step.attempts) == sum(1 + start.retried for start in starts if start.done > STEP)
        assert step.user_defined_metrics == ({"number": counting.number} if counting.done > METRIC else {})
        for start in starts:
            if start is not counting and start.done > METRIC:
                (left,) = [attempt for attempt in step.attempts if attempt.pid == start.number and attempt.metrics]
                assert left.metrics == {"number": start.number}
                assert [point.step for point in left.metric_series["loss"]] == [start.number]
        is_behind = "m.1.inner" in branch.steps and "m.1.inner" in left_behind(branch.steps)
        assert is_behind == (counting.done <= INNER and any(start.done > INNER for start in starts))
        if is_behind:
            assert (branch.steps["m.1.inner"].status == "LOST") == (counting.done > END)


@pytest.mark.parametrize("kind", CONTAINERS)
@given(program=programs())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_any_starts_ends_and_deaths_of_a_branch_are_told_as_they_were(kind, program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    starts = perform(program, lambda: opened(kind, folder))
    store = opened(kind, folder)
    log = store.get_run_log("run", strict=True)
    check(log, program, starts)
    streamed = {record.internal_name: record.to_dict() for record in store.iter_records("run")}
    for name, step in log.steps["m"].branches["m.1"].steps.items():
        assert store.get_step_log("run", name).to_dict() == step.to_dict() == streamed[name]
    assert store.get_branch_log("run", "m.1").to_dict() == log.steps["m"].branches["m.1"].to_dict()
    assert json.loads(store.get_run_json("run")) == json.loads(log.to_json())
    store.update_run_log("run", lambda run: setattr(run, "status", "SUCCESS"))
    store.seal("run")
    assert store.get_run_log("run", strict=True).to_dict()["steps"] == log.to_dict()["steps"]
    copy = opened("document" if kind != "document" else "files", tmp_path_factory.mktemp("copy"))
    copy.add_run_log(log)
    check(copy.get_run_log("run", strict=True), program, starts)


@given(program=programs())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_who_follows_a_run_sees_of_several_starts_what_whoever_reads_it_sees(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    store = opened("files", folder)
    followed = FollowedRun("run", lambda: store.backend.reader("run"))

    def look():
        with store.backend.reader("run") as reader:
            names = reader.names()
        log = followed.read_changed(names)
        assert log.to_dict()["steps"] == store.get_run_log("run", strict=True).to_dict()["steps"]

    perform(program, lambda: opened("files", folder), after_each=look)
    look()

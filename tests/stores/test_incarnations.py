"""A run is more than its name: what is remembered, decided or held of a deleted run does nothing to the next."""

import pickle
import threading

import pytest
from processes import Forked
from recorded import step

import chunkstore
from chunkstore.errors import RunLogNotFoundError
from chunkstore.maintenance import retention
from chunkstore.maintenance.retention import Rule
from chunkstore.names import PinnedRunId
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import INCARNATION, NOTES
from chunkstore.stores.runs.liveness import LIVE, LOST, UNKNOWN
from stores.incarnations import RUN, STORES, every_store


def make_anew(store, **options):
    """Delete the run and make another of its id."""
    store.delete_run(RUN)
    return store.create_run_log(RUN, **options)


@pytest.fixture(params=STORES, ids=lambda store: store.__name__)
def two_stores(request, tmp_path):
    """A store whose object lives on, as in a service, and that of another process; the run is there."""
    worker, other = request.param(tmp_path), request.param(tmp_path)
    other.create_run_log(RUN)
    return worker, other


def test_every_run_has_an_identity_of_its_own_and_keeps_it(two_stores):
    worker, other = two_stores
    first = worker.get_run_log(RUN).incarnation
    assert len(first) == 16
    other.update_run_log(RUN, lambda log: setattr(log, "run_config", {"a": 1, NOTES: {"format": 1}}))
    assert other.get_run_log(RUN).incarnation == first
    assert [summary.incarnation for summary in worker.list_runs()] == [first]
    second = make_anew(other).incarnation
    assert second != first
    assert worker.get_run_log(RUN).incarnation == second


@pytest.mark.parametrize("noted", ["../../x", "", 7, None, ["a"], "0" * 17, "G" * 16])
def test_what_is_no_identity_is_none(noted):
    log = chunkstore.RunLog(run_id="r", run_config={NOTES: {INCARNATION: noted}})
    assert log.incarnation == ""


def test_all_that_is_acknowledged_after_a_run_was_made_anew_is_in_the_new_one(two_stores):
    worker, other = two_stores
    other.add_step_log(RUN, step("s", message="other, old run"))
    worker.add_step_log(RUN, step("s", message="worker, old run"))
    worker.append_metrics(RUN, "s", {"loss": [MetricPoint(0, 9.0, "t")]})
    worker.set_parameters(RUN, {"old": 1})
    make_anew(other)
    other.add_step_log(RUN, step("s", message="other, new run"))
    worker.append_metrics(RUN, "s", {"loss": [MetricPoint(0, 1.0, "t")]})
    worker.set_parameters(RUN, {"new": 1})
    worker.update_step_log(RUN, "s", lambda found: found.user_defined_metrics.update(a=1))
    found = other.get_run_log(RUN, strict=True)
    assert (found.steps["s"].message, found.parameters) == ("other, new run", {"new": 1})
    assert found.steps["s"].user_defined_metrics == {"a": 1}
    assert [point.value for point in found.steps["s"].metric_series["loss"]] == [1.0]
    worker.add_step_log(RUN, step("s", message="worker, new run"))
    assert other.get_run_log(RUN, strict=True).steps["s"].message == "worker, new run"
    worker.put_step_log(RUN, step("s", message="put, new run"))
    assert other.get_run_log(RUN, strict=True).steps["s"].message == "put, new run"


def test_a_pinned_id_means_one_run_for_every_call(two_stores):
    worker, other = two_stores
    pinned = pickle.loads(pickle.dumps(PinnedRunId(RUN, worker.get_run_log(RUN).incarnation)))
    worker.add_step_log(pinned, step("s"))
    assert list(worker.get_run_log(pinned).steps) == ["s"]
    make_anew(other)
    other.add_step_log(RUN, step("s", message="the new run's"))
    before = other.get_run_log(RUN).to_json()
    for call in (
        lambda: worker.get_run_log(pinned),
        lambda: list(worker.iter_records(pinned)),
        lambda: worker.update_run_log(pinned, lambda log: setattr(log, "status", "SUCCESS")),
        lambda: worker.add_step_log(pinned, step("s", message="lost")),
        lambda: worker.put_step_log(pinned, step("s", message="lost")),
        lambda: worker.update_step_log(pinned, "s", lambda found: setattr(found, "message", "lost")),
        lambda: worker.append_metrics(pinned, "s", {"m": [MetricPoint(1, 1)]}),
        lambda: worker.set_parameters(pinned, {"a": 1}),
        lambda: worker.delete_run(pinned),
        lambda: worker.delete_run_if(pinned, lambda: True),
        lambda: worker.while_locked(pinned, lambda: pytest.fail("not this one")),
        lambda: worker.liveness(pinned),
        lambda: worker.seal(pinned),
    ):
        with pytest.raises(RunLogNotFoundError, match="another run of the same id"):
            call()
    assert other.get_run_log(RUN).to_json() == before
    assert not worker.has_run(pinned)
    assert worker.has_run(RUN)


@every_store
def test_what_records_a_run_does_nothing_to_another_of_its_id(tmp_path, open_store):
    store, other = open_store(tmp_path), open_store(tmp_path)
    run = store.start_run(RUN, capture_output=False)
    with run.step("open") as open_step:
        make_anew(other)
        with pytest.raises(RunLogNotFoundError):
            open_step.log_metric("rows", 1)
        with pytest.raises(RunLogNotFoundError):
            pickle.loads(pickle.dumps(run)).set_parameters({"a": 1})
        open_step._log.attempts.clear()  # so that leaving the block records nothing
        open_step._owner_pid = -1
    for call in (lambda: run.step("later", int, "1"), run.finish):
        with pytest.raises(RunLogNotFoundError):
            call()
    log = other.get_run_log(RUN, strict=True)
    assert (log.status, log.steps, log.parameters) == ("PROCESSING", {}, {})


@every_store
def test_a_run_that_is_followed_and_made_anew_is_gone(tmp_path, open_store):
    store, other = open_store(tmp_path), open_store(tmp_path)
    store.create_run_log(RUN, tag="first")
    followed = store.follow(RUN)
    assert next(followed).tag == "first"
    make_anew(other, tag="second", status="SUCCESS")
    with pytest.raises(RunLogNotFoundError):
        list(followed)


@every_store
def test_a_live_run_is_not_lost_because_one_of_its_id_has_died(tmp_path, open_store):
    def record(say):
        with open_store(tmp_path).start_run(RUN, capture_output=False):
            say("begun")
            threading.Event().wait()

    store = open_store(tmp_path)
    with Forked(record) as owner:
        owner.wait_for_line()
        owner.kill()
    assert store.liveness(RUN).state == LOST
    store.delete_run(RUN)
    store.create_run_log(RUN)
    assert store.liveness(RUN).state == UNKNOWN
    make_anew(store)
    store.delete_run(RUN)
    with store.start_run(RUN, capture_output=False):
        assert open_store(tmp_path).liveness(RUN).state == LIVE
    store.delete_run(RUN)
    assert not list(tmp_path.rglob("*.owner"))


@every_store
def test_who_holds_a_run_that_was_deleted_does_not_make_another_one_live(tmp_path, open_store):
    store, other = open_store(tmp_path), open_store(tmp_path)
    run = store.start_run(RUN, capture_output=False)
    make_anew(other)
    assert other.liveness(RUN).state == UNKNOWN
    joined = other.join_run(RUN, capture_output=False)
    assert store.liveness(RUN).state == LIVE
    del joined, run


@every_store
def test_gc_deletes_no_run_that_was_begun_anew_since_it_decided(tmp_path, open_store):
    store, other = open_store(tmp_path), open_store(tmp_path)
    store.create_run_log(RUN, status="SUCCESS")
    plan = retention.plan_retention(store, Rule(keep_last=0))
    make_anew(other, status="SUCCESS", tag="new")
    (outcome,) = retention.collect(store, plan)
    assert (outcome.deleted, outcome.failed) == (False, False)
    assert other.get_run_log(RUN).tag == "new"


@every_store
def test_a_resumed_run_takes_over_from_the_run_that_it_resumed(tmp_path, monkeypatch, open_store):
    monkeypatch.chdir(tmp_path)
    store, other = open_store(tmp_path), open_store(tmp_path)
    with store.start_run(RUN, capture_output=False) as run:
        run.step("s", int, "1")
    resumed = store.start_run("second", resume=RUN, capture_output=False)
    make_anew(other)
    assert resumed.previous.step("s") is None  # it is gone, and was not read before
    assert resumed.step("s", int, "1") == 1
    resumed.finish()


@every_store
def test_who_joins_a_resumed_run_takes_over_from_the_run_that_it_resumed(tmp_path, monkeypatch, open_store):
    monkeypatch.chdir(tmp_path)
    store = open_store(tmp_path)
    for message in ("old", "new"):
        with store.start_run(RUN, capture_output=False) as run, run.step("s") as recorded:
            recorded.set_result(message)
        store.start_run("second", resume=RUN, capture_output=False)
        joined = store.join_run("second", capture_output=False)
        assert joined.previous.step("s").log.result == message
        store.delete_run("second")
        store.delete_run(RUN)
    del joined

"""What is left in a bucket by those who were stopped: it is never shown, and cleared when nobody can need it."""

import pytest

import chunkstore
from chunkstore.backends.objects import left_overs
from chunkstore.backends.objects.client import INCARNATION, ObjectClient
from chunkstore.backends.objects.left_overs import IN_RUNS, WITHOUT_RUN
from chunkstore.backends.objects.tombstones import Deletion
from chunkstore.errors import StoreAccessError, StoreIOError
from chunkstore.maintenance.retention import Rule, plan_retention, remove_left_overs

OTHERS = "b" * 16


@pytest.fixture
def store(memory_place):
    return chunkstore.open_store(memory_place.url, **memory_place.options)


@pytest.fixture
def later(monkeypatch):
    """Have the server say that it is later, by as many seconds as this says."""
    seconds = [0.0]
    server_time = ObjectClient.server_time
    monkeypatch.setattr(ObjectClient, "server_time", lambda client: server_time(client) + int(seconds[0] * 1e9))
    return seconds


def keys(store):
    return sorted(
        listed.key for listed in store.backend.client.listed("") if not listed.key.startswith((".chunkstore/", "."))
    )


def run_of_two_steps(store, run_id="r"):
    with store.start_run(run_id) as run:
        for name in "ab":
            with run.step(name):
                pass
    return store.get_run_log(run_id)


def left_by_another(store, name, data=b"{}"):
    store.backend.client.put(f"r/{name}", data, {INCARNATION: OTHERS})


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_left_of_another_run_of_the_same_id_is_not_shown_and_goes_when_it_is_old(store, later, dry_run):
    log = run_of_two_steps(store)
    step = store.get_step_log("r", "a")
    for name in ("StepLog-c-1.json", "Parameter-p.json", ".owner", ".joined-1-x~30"):
        left_by_another(store, name, b'{"name": "c", "internal_name": "c"}')
    assert store.get_run_log("r") == log
    assert store.get_step_log("r", "a") == step
    before = keys(store)
    assert remove_left_overs(store, dry_run=dry_run).files == 0  # a creator may be about to use it
    later[0] = IN_RUNS + 5
    found = remove_left_overs(store, dry_run=dry_run)
    assert found.files == 4
    assert len(keys(store)) == len(before) - (0 if dry_run else 4)
    assert store.get_run_log("r") == log


def test_what_is_freed_with_a_run_is_what_its_objects_have(store):
    store.create_run_log("gone", status="SUCCESS", parameters={"text": "x" * 5_000})
    (run,) = plan_retention(store, Rule(keep_last=0)).delete
    assert run.space == len(store.backend.load("gone", "RunLog.json"))


def test_clearing_up_takes_nothing_that_counts(store, later):
    run_of_two_steps(store)
    store.create_run_log("open", parameters={"x": 1})
    store.add_step_log("open", chunkstore.StepLog(name="s", internal_name="s"))
    store.set_parameters("open", {"y": 2})
    store.backend.client.put("r/StepLog-c-1.json", b"{}", {})  # of another tool, which notes no incarnation
    before = keys(store)
    later[0] = 100 * WITHOUT_RUN
    assert remove_left_overs(store).files == 0
    assert keys(store) == before


def test_a_deletion_that_was_stopped_is_finished_when_its_deleter_is_silent(store, later):
    run_of_two_steps(store)
    found = store.backend.client.get("r/RunLog.json")
    Deletion(store.backend.client, "r").mark(found.incarnation, found.version, found.writers)
    assert not store.has_run("r")
    assert list(store.list_runs()) == []
    assert remove_left_overs(store).files == 0
    later[0] = IN_RUNS + 5
    assert remove_left_overs(store, dry_run=True).files > 0
    assert keys(store)
    remove_left_overs(store)
    assert keys(store) == []


def test_what_lies_where_there_is_no_run_goes_after_a_day(store, later):
    store.backend.client.put("r/Sealed-1.jsonl", b"{}", {INCARNATION: OTHERS})
    store.backend.client.put("r/StepLog-a-1.json", b"{}", {})
    later[0] = WITHOUT_RUN - 60
    assert remove_left_overs(store).files == 0
    assert list(store.list_runs()) == []
    later[0] = WITHOUT_RUN + 60
    assert remove_left_overs(store).files == 2
    assert keys(store) == []


def test_the_owner_of_a_finished_run_goes_who_could_not_remove_its_object(store, later):
    run_of_two_steps(store)
    store.create_run_log("open")
    for run_id in ("r", "open"):
        incarnation = store.get_run_log(run_id).incarnation
        store.backend.client.put(f"{run_id}/.owner", b'{"renewed_every": 100}', {INCARNATION: incarnation})
    later[0] = 900
    assert remove_left_overs(store).files == 0
    later[0] = 1100
    assert remove_left_overs(store).files == 1
    assert "open/.owner" in keys(store)  # which tells that somebody has died


@pytest.fixture
def meanwhile(monkeypatch):
    """Have something done just before what is left over is removed."""

    def do(action):
        real = left_overs.clear_folder

        def overtaken(*arguments):
            action()
            return real(*arguments)

        monkeypatch.setattr(left_overs, "clear_folder", overtaken)

    return do


def test_a_run_that_is_made_where_a_deletion_was_stopped_is_not_deleted_with_that(store, later, meanwhile):
    run_of_two_steps(store)
    found = store.backend.client.get("r/RunLog.json")
    Deletion(store.backend.client, "r").mark(found.incarnation, found.version, found.writers)
    meanwhile(lambda: run_of_two_steps(store))
    later[0] = IN_RUNS + 5
    remove_left_overs(store)
    assert list(store.get_run_log("r").steps) == ["a", "b"]


def test_a_run_that_is_made_where_something_lay_without_a_run_keeps_what_it_has_put_there(store, later, meanwhile):
    left_by_another(store, "Parameter-p.json")

    def make():
        store.create_run_log("r")
        store.set_parameters("r", {"p": 1})

    meanwhile(make)
    later[0] = WITHOUT_RUN + 60
    remove_left_overs(store)
    assert store.get_parameters("r") == {"p": 1}


def test_in_a_run_that_was_made_after_the_runs_were_listed_nothing_is_touched(store, later, monkeypatch):
    run_of_two_steps(store)
    left_by_another(store, "Parameter-p.json")
    before = keys(store)
    later[0] = IN_RUNS + 5
    monkeypatch.setattr(type(store), "list_runs", lambda _: iter(()))
    assert remove_left_overs(store).files == 0
    assert keys(store) == before


def test_in_a_run_of_which_nobody_knows_who_records_it_nothing_is_touched(s3_place, monkeypatch):
    store = chunkstore.open_store(s3_place.url, **s3_place.options)
    server_time = ObjectClient.server_time
    monkeypatch.setattr(ObjectClient, "server_time", lambda client: server_time(client) + int((IN_RUNS + 5) * 1e9))
    store.create_run_log("r")
    left_by_another(store, "Parameter-p.json")
    before = keys(store)
    assert remove_left_overs(store).files == 0
    assert keys(store) == before


def test_a_run_that_is_made_anew_in_the_middle_of_clearing_up_loses_nothing(store, later, monkeypatch):
    run_of_two_steps(store)
    left_by_another(store, "StepLog-c-1.json")
    later[0] = IN_RUNS + 5
    real = left_overs.ClearingBucket._of_others

    def overtaken(self, *arguments, **options):
        left = real(self, *arguments, **options)
        if left:
            store.delete_run("r")
            store.create_run_log("r")
            left_by_another(store, "StepLog-c-1.json")
        return left

    monkeypatch.setattr(left_overs.ClearingBucket, "_of_others", overtaken)
    assert remove_left_overs(store).files == 0
    assert "r/StepLog-c-1.json" in keys(store)


@pytest.mark.parametrize("kind", [StoreIOError, StoreAccessError])
def test_who_could_not_finish_a_deletion_says_that_the_run_is_gone_and_can_create_it_anew_at_once(
    store, monkeypatch, kind
):
    store.create_run_log("run")
    store.add_step_log("run", chunkstore.StepLog(name="old", internal_name="old"))

    def fail(*_arguments):
        raise kind("the network is gone", file="here", errno=5)

    with monkeypatch.context() as patched:
        patched.setattr(store.backend.client, "delete", fail)
        with pytest.raises(kind, match="'run' is deleted for everybody"):
            store.delete_run("run")
    assert not store.has_run("run")
    store.create_run_log("run")
    assert store.get_run_log("run", strict=True).steps == {}

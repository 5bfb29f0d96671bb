"""A run is more than its name: what is remembered, decided or held of a deleted run does nothing to the next."""

import os
import pickle
import shutil
import threading
from pathlib import Path

import pytest
from processes import Forked, run_processes

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.memory import MemoryBackend
from chunkstore.errors import RunLogExistsError, RunLogNotFoundError, StepLogNotFoundError
from chunkstore.maintenance import retention
from chunkstore.maintenance.importing import import_runs
from chunkstore.maintenance.retention import Rule, deleting
from chunkstore.names import PinnedRunId
from chunkstore.recording.catalog import Catalog
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import INCARNATION, NOTES, StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.runs.liveness import LIVE, LOST, UNKNOWN
from chunkstore.testing.faults import CountingSyscalls

RUN = "nightly"


def files(folder):
    return chunkstore.open_store("chunked-fs", log_folder=str(folder / "logs"))


def journal(folder):
    return chunkstore.open_store("chunked-fs", log_folder=str(folder / "logs"), container="journal")


def remembering(folder):
    store = files(folder)
    store.remember_listings(1_000_000)
    return store


def document(folder):
    return chunkstore.open_store("file-system", log_folder=str(folder / "logs"))


STORES = [files, journal, remembering, document]
_stores = pytest.mark.parametrize("open_store", STORES, ids=lambda store: store.__name__)


def step(name, **fields):
    return StepLog(name=name, internal_name=name, **fields)


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


@_stores
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


@_stores
def test_a_run_that_is_followed_and_made_anew_is_gone(tmp_path, open_store):
    store, other = open_store(tmp_path), open_store(tmp_path)
    store.create_run_log(RUN, tag="first")
    followed = store.follow(RUN)
    assert next(followed).tag == "first"
    make_anew(other, tag="second", status="SUCCESS")
    with pytest.raises(RunLogNotFoundError):
        list(followed)


@_stores
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


@_stores
def test_who_holds_a_run_that_was_deleted_does_not_make_another_one_live(tmp_path, open_store):
    store, other = open_store(tmp_path), open_store(tmp_path)
    run = store.start_run(RUN, capture_output=False)
    make_anew(other)
    assert other.liveness(RUN).state == UNKNOWN
    joined = other.join_run(RUN, capture_output=False)
    assert store.liveness(RUN).state == LIVE
    del joined, run


@_stores
def test_gc_deletes_no_run_that_was_begun_anew_since_it_decided(tmp_path, open_store):
    store, other = open_store(tmp_path), open_store(tmp_path)
    store.create_run_log(RUN, status="SUCCESS")
    plan = retention.plan_retention(store, Rule(keep_last=0))
    make_anew(other, status="SUCCESS", tag="new")
    (outcome,) = retention.collect(store, plan)
    assert (outcome.deleted, outcome.failed) == (False, False)
    assert other.get_run_log(RUN).tag == "new"


@_stores
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


@_stores
def test_who_joins_a_resumed_run_takes_over_from_the_run_that_it_resumed(tmp_path, monkeypatch, open_store):
    monkeypatch.chdir(tmp_path)
    store = open_store(tmp_path)
    for message in ("old", "new"):
        with store.start_run(RUN, capture_output=False) as run, run.step("s") as recorded:
            recorded.set_result(message)
        store.start_run("second", resume=RUN, capture_output=False)
        joined = store.join_run("second", capture_output=False)
        assert joined.previous.step("s").result == message
        store.delete_run("second")
        store.delete_run(RUN)
    del joined


# --- creating beside deleting ----------------------------------------------------------------------------------------


def create_and_delete(open_store, folder, number, rounds):
    store = open_store(Path(folder))
    created = []
    for turn in range(rounds):
        try:
            created.append(store.create_run_log(RUN, tag=f"{number}-{turn}").incarnation)
        except RunLogExistsError:
            pass
        try:
            store.delete_run(RUN)
        except RunLogNotFoundError:
            pass
        else:
            created.append("deleted")
    return created


@_stores
def test_of_processes_that_create_and_delete_one_run_each_creation_is_undone_once(tmp_path, open_store):
    told = [
        entry
        for each in run_processes(create_and_delete, [(open_store, str(tmp_path), number, 40) for number in range(4)])
        for entry in each
    ]
    created = [entry for entry in told if entry != "deleted"]
    assert len(set(created)) == len(created)
    left = len(list(open_store(tmp_path).list_runs()))
    assert len(created) == told.count("deleted") + left
    assert {path.name for path in (tmp_path / "logs").iterdir()} <= {RUN, f"{RUN}.json", f".{RUN}.lock"}


def test_who_loses_the_processor_while_it_finds_a_run_does_not_win_beside_another(tmp_path):
    """The run is renamed away by its deletion just when somebody looks whether it is one."""
    first, second, third = (ChunkedStore(DirectoryBackend(tmp_path / "logs")) for _ in range(3))
    second.create_run_log(RUN, tag="old")
    fresh, told = first.backend._folders.fresh, []

    def slow(folder):
        handle = fresh(folder)
        if folder == RUN and not told:
            told.append("third")
            second.delete_run(RUN)
            third.create_run_log(RUN, tag="third")
        return handle

    first.backend._folders.fresh = slow
    with pytest.raises(RunLogExistsError):
        first.create_run_log(RUN, tag="first")
    assert third.get_run_log(RUN).tag == "third"


def test_a_folder_without_a_record_becomes_a_run_whoever_removes_it(tmp_path):
    (tmp_path / "logs" / RUN).mkdir(parents=True)
    (tmp_path / "logs" / RUN / "note.txt").write_text("mine")
    store = files(tmp_path)
    store.create_run_log(RUN, parameters={"a": 1})
    assert store.get_run_log(RUN).parameters == {"a": 1}
    assert (tmp_path / "logs" / RUN / "note.txt").read_text() == "mine"


def test_in_memory_who_waited_for_the_lock_of_a_deleted_run_locks_the_new_one(tmp_path):
    store = ChunkedStore(MemoryBackend(lock_timeout=5))
    store.create_run_log(RUN)
    inside, most, guard = [0], [0], threading.Lock()
    go = threading.Event()

    def change(log):
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        go.wait(0.2)
        with guard:
            inside[0] -= 1
        log.run_config[threading.current_thread().name] = 1

    early = threading.Thread(target=lambda: store.update_run_log(RUN, change), name="early")
    late = threading.Thread(target=lambda: store.update_run_log(RUN, change), name="late")

    def delete_and_create():
        early.start()
        while not any(frame for frame in store.backend._folders[RUN].locks):
            pass
        store.backend.remove_folder(RUN)
        store.create_run_log(RUN)

    store.while_locked(RUN, delete_and_create)
    late.start()
    early.join()
    late.join()
    assert most == [1]
    assert {"early", "late"} <= set(store.get_run_log(RUN).run_config)


# --- data ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def put(store, content, run_id=RUN):
    Path("d").write_text(content)
    with store.start_run(run_id, capture_output=False) as run, run.step("a") as recorded:
        recorded.put_data("d")


def data_of(store, run_id=RUN):
    entry = store.get_step_log(run_id, "a").data_catalog[0]
    path = Path(store.catalog_path, entry.catalog_relative_path)
    return path.read_text() if path.is_file() else None


def data_in(store):
    """Return what is in the catalog of a store, and what claims there are on it."""
    catalog = Path(store.catalog_path)
    return sorted(path for path in catalog.rglob("*") if path.parent != catalog or path.name != ".runs")


@pytest.mark.parametrize("folder", [None, "shared"], ids=["the usual catalog", "one that both name"])
def test_two_stores_that_share_a_catalog_keep_their_data_apart(tmp_path, work, folder):
    options = {"catalog_folder": str(tmp_path / folder)} if folder else {}
    prod, test = (
        chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / name), **options) for name in ("prod", "test")
    )
    put(prod, "prod")
    put(test, "test")
    assert (data_of(prod), data_of(test)) == ("prod", "test")
    assert prod.get_step_log(RUN, "a").data_catalog[0].catalog_relative_path == f"{RUN}/d"
    for store, other, left in ((prod, test, "test"), (test, prod, None)):
        plan = retention.plan_retention(store, Rule(keep_last=0), with_data=True)
        assert [outcome.deleted for outcome in retention.collect(store, plan, with_data=True)] == [True]
        assert left is None or data_of(other) == left
    assert data_in(prod) == []


@_stores
def test_a_run_that_is_made_anew_finds_no_data_of_the_former(tmp_path, work, open_store):
    store = open_store(tmp_path)
    put(store, "old")
    store.delete_run(RUN)
    with store.start_run(RUN, capture_output=False) as run, run.step("b") as recorded:
        with pytest.raises(chunkstore.DataNotFoundError):
            recorded.get_data("d", "copy")
        Path("d").write_text("new")
        recorded.put_data("d")
        assert recorded.get_data("d", "copy").read_text() == "new"
    assert (Path(store.catalog_path) / RUN / "d").read_text() == "old"  # it stays, as before


@_stores
def test_gc_of_data_leaves_that_of_a_run_that_was_begun_anew(tmp_path, work, monkeypatch, open_store):
    store = open_store(tmp_path)
    put(store, "old")
    remove, begun = deleting.remove_data, []

    def remove_later(*arguments):
        if not begun:
            begun.append(put(open_store(tmp_path), "new"))
        remove(*arguments)

    monkeypatch.setattr(deleting, "remove_data", remove_later)
    plan = retention.plan_retention(store, Rule(keep_last=0), with_data=True)
    assert [outcome.deleted for outcome in retention.collect(store, plan, with_data=True)] == [True]
    assert data_of(store) == "new"
    assert not (Path(store.catalog_path) / RUN).exists()
    monkeypatch.setattr(deleting, "remove_data", remove)
    plan = retention.plan_retention(store, Rule(keep_last=0), with_data=True)
    assert [outcome.deleted for outcome in retention.collect(store, plan, with_data=True)] == [True]
    assert data_in(store) == []


def test_gc_that_was_stopped_between_a_run_and_its_data_deletes_that_data_alone(tmp_path, work, monkeypatch):
    store = files(tmp_path)
    put(store, "old")

    def stopped(*_):
        raise KeyboardInterrupt

    plan = retention.plan_retention(store, Rule(keep_last=0), with_data=True)
    with monkeypatch.context() as patched:
        patched.setattr(deleting, "remove_data", stopped)
        with pytest.raises(KeyboardInterrupt):
            list(retention.collect(store, plan, with_data=True))
    put(store, "new")
    retention.remove_left_overs(store, with_data=True)
    assert data_of(store) == "new"
    assert not (Path(store.catalog_path) / RUN).exists()
    assert not list((tmp_path / "logs").glob(".deleted-*"))


def test_what_an_imported_run_refers_to_stays_when_the_run_that_it_came_from_is_deleted(tmp_path, work):
    old, new = (chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / name)) for name in ("old", "new"))
    put(old, "data")
    assert import_runs(str(tmp_path / "old"), new).imported == [RUN]
    assert new.get_run_log(RUN).incarnation != old.get_run_log(RUN).incarnation
    for store, left in ((old, "data"), (new, None)):
        plan = retention.plan_retention(store, Rule(keep_last=0), with_data=True)
        assert [outcome.deleted for outcome in retention.collect(store, plan, with_data=True)] == [True]
        assert left is None or data_of(new) == left
    assert data_in(new) == []


def test_an_imported_run_that_is_deleted_first_leaves_the_data_to_the_run_that_made_it(tmp_path, work):
    old, new = (chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / name)) for name in ("old", "new"))
    put(old, "data")
    import_runs(str(tmp_path / "old"), new)
    with new.join_run(RUN, capture_output=False) as run, run.step("b") as recorded:
        assert recorded.get_data("d", "copy").read_text() == "data"
        Path("d").write_text("its own")
        recorded.put_data("d")
        assert recorded.get_data("d", "copy").read_text() == "its own"
    assert data_of(old) == "data"
    new.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
    plan = retention.plan_retention(new, Rule(keep_last=0), with_data=True)
    assert [outcome.deleted for outcome in retention.collect(new, plan, with_data=True)] == [True]
    assert data_of(old) == "data"


def as_an_older_version_made_it(store, run_id=RUN):
    """Take the identity out of a run's record."""

    def strip(log):
        log.run_config = {}

    store.update_run_log(run_id, strip)
    store.close()


def test_a_run_without_an_identity_keeps_its_data_from_that_of_another_store(tmp_path, work):
    prod, test = (chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / name)) for name in ("prod", "test"))
    put(prod, "prod")
    test.create_run_log(RUN)
    as_an_older_version_made_it(test)
    with test.join_run(RUN, capture_output=False) as run, run.step("a") as recorded:
        Path("d").write_text("test")
        recorded.put_data("d")
        assert recorded.get_data("d", "copy").read_text() == "test"
    assert (data_of(prod), data_of(test)) == ("prod", "test")


def test_importing_a_run_without_an_identity_leaves_its_data_to_it_too(tmp_path, work):
    old, new = (chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / name)) for name in ("old", "new"))
    catalog = Path(old.catalog_path)
    put(old, "data")
    as_an_older_version_made_it(old)
    shutil.rmtree(catalog / ".runs")
    import_runs(str(tmp_path / "old"), new)
    with old.join_run(RUN, capture_output=False) as run, run.step("b") as recorded:
        assert recorded.get_data("d", "copy").read_text() == "data"
    old.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
    for store, left in ((old, "data"), (new, None)):
        plan = retention.plan_retention(store, Rule(keep_last=0), with_data=True)
        assert [outcome.deleted for outcome in retention.collect(store, plan, with_data=True)] == [True]
        assert left is None or data_of(new) == left


def test_an_import_that_is_stopped_loses_no_data(tmp_path, work, monkeypatch):
    old, new = (chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / name)) for name in ("old", "new"))
    put(old, "data")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    for name in ("add_run_log", None):
        with monkeypatch.context() as patched:
            if name:
                patched.setattr(new, name, stopped)
                with pytest.raises(KeyboardInterrupt):
                    import_runs(str(tmp_path / "old"), new)
            else:
                import_runs(str(tmp_path / "old"), new)
    plan = retention.plan_retention(old, Rule(keep_last=0), with_data=True)
    assert [outcome.deleted for outcome in retention.collect(old, plan, with_data=True)] == [True]
    assert data_of(new) == "data"


def test_data_that_is_deleted_while_it_is_taken_over_makes_the_step_run_again(tmp_path, work, monkeypatch):
    def make():
        Path("d").write_text("made")
        chunkstore.current_step().put_data("d")
        return 1

    store = files(tmp_path)
    with store.start_run("one", capture_output=False) as run:
        run.step("a", make)
    original = Catalog._link

    def deleted(catalog, source, *rest):
        Path(source).unlink()
        return original(catalog, source, *rest)

    monkeypatch.setattr(Catalog, "_link", deleted)
    with store.start_run("two", resume="one", capture_output=False) as run:
        assert run.step("a", make) == 1
    assert store.get_step_log("two", "a").mock is False
    assert data_of(store, "two") == "made"


def put_and_collect(folder, number, rounds):
    """Put the first data of a run, then delete it with the run, again and again."""
    os.chdir(folder)
    store = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/logs-{number}", catalog_folder=f"{folder}/data")
    for turn in range(rounds):
        with store.start_run(f"run-{turn % 2}", capture_output=False) as run, run.step("a") as recorded:
            Path(f"d-{number}").write_text(f"{number}-{turn}")
            recorded.put_data(f"d-{number}", "d")
            assert recorded.get_data("d", f"copy-{number}").read_text() == f"{number}-{turn}"
        plan = retention.plan_retention(store, Rule(keep_last=0), with_data=True)
        assert all(outcome.deleted for outcome in retention.collect(store, plan, with_data=True))


def test_processes_that_put_and_delete_data_in_one_catalog_do_not_meet(tmp_path):
    run_processes(put_and_collect, [(str(tmp_path), number, 25) for number in range(3)])
    assert [path for path in (tmp_path / "data").iterdir() if path.name not in (".runs", ".lock")] == []


# --- reads of a run that is deleted meanwhile ------------------------------------------------------------------------

READS = {
    "get run": lambda store: store.get_run_log(RUN),
    "get run, strict": lambda store: store.get_run_log(RUN, strict=True),
    "get json": lambda store: store.get_run_json(RUN),
    "iterate": lambda store: list(store.iter_records(RUN)),
    "count": lambda store: store.count_steps(RUN),
    "get step": lambda store: store.get_step_log(RUN, "m"),
    "get parameters": lambda store: store.get_parameters(RUN, "m.0"),
    "has step": lambda store: store.has_step_log(RUN, "m.3.in"),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("sealed", [False, True], ids=["loose", "sealed"])
def test_a_read_gives_all_of_a_run_that_is_deleted_meanwhile_or_says_that_it_is_gone(tmp_path, read, sealed):
    """Somebody deletes the run just before each system call of the read, the first, the second and so on."""
    whole = []
    for number in range(1, 400):
        folder = tmp_path / str(number)
        store = files(folder)
        fill(store, sealed=sealed)
        backend = DirectoryBackend(
            folder / "logs", syscalls=Meddling(number, lambda store=store: store.delete_run(RUN))
        )
        try:
            found = READS[read](ChunkedStore(backend))
        except RunLogNotFoundError:
            pass
        else:
            whole.append(plain(found))
        if not backend._folders.syscalls.has_meddled:
            break
    assert number > 4
    assert len(whole) >= 1  # at least that which was not meddled with
    assert all(found == whole[-1] for found in whole)


def fill(store, *, sealed):
    store.create_run_log(RUN, parameters={"a": 1})
    store.add_step_log(RUN, step("m", status="SUCCESS"))
    for number in range(4):
        store.add_branch_log(RUN, chunkstore.BranchLog(internal_name=f"m.{number}", parameters={"n": number}))
        store.add_step_log(RUN, StepLog(name="in", internal_name=f"m.{number}.in"))
    store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
    if sealed:
        store.seal(RUN)


def plain(found):
    """Return what was read without what differs from run to run."""
    if isinstance(found, chunkstore.RunLog):
        found.run_config = {}
        return found.to_json()
    if isinstance(found, bytes):
        return plain(chunkstore.RunLog.from_json(found))
    if isinstance(found, list):
        return [record.to_json() for record in found]
    return found.to_json() if isinstance(found, StepLog) else found


class Meddling(CountingSyscalls):
    """System calls before one of which somebody else does something."""

    def __init__(self, at, meddle):
        super().__init__()
        self.left = at
        self.has_meddled = False
        self._meddle = meddle

    def perform(self, call, action):
        self.left -= 1
        if self.left == 0:
            self.has_meddled = True
            self._meddle()
        return super().perform(call, action)


def test_a_step_that_is_missing_is_told_from_a_run_that_is_gone(tmp_path):
    store = files(tmp_path)
    store.create_run_log(RUN)
    with pytest.raises(StepLogNotFoundError):
        store.get_step_log(RUN, "s")
    store.delete_run(RUN)
    with pytest.raises(RunLogNotFoundError):
        store.get_step_log(RUN, "s")


# --- for a while, all at once ----------------------------------------------------------------------------------------

IDS = ("a", "b", "c")


def live_through(open_store, folder, number, rounds):
    """Create, record, finish, seal, read and delete a handful of runs; return what was acknowledged, and where."""
    store = open_store(Path(folder))
    acknowledged, deleted = [], []
    for turn in range(rounds):
        run_id = IDS[(number + turn) % len(IDS)]
        name = f"{number}-{turn}"
        for call in (
            lambda: store.create_run_log(run_id),  # noqa: B023 - called at once
            lambda: acknowledged.append((name, record(store, run_id, name))),  # noqa: B023
            lambda: store.update_run_log(run_id, lambda log: setattr(log, "status", "SUCCESS")),  # noqa: B023
            lambda: store.seal(run_id),  # noqa: B023
            lambda: check_whole(store.get_run_log(run_id)),  # noqa: B023
            *([lambda: deleted.append(delete(store, run_id))] if turn % 3 == 2 else []),  # noqa: B023
        ):
            try:
                call()
            except chunkstore.ChunkstoreError:
                pass  # somebody else has created or deleted it
    return acknowledged, deleted


def record(store, run_id, name):
    """Record a step and what belongs to it in whichever run has the id; return which one that was."""
    before = store.get_run_log(run_id, full=False).incarnation
    pinned = PinnedRunId(run_id, before)
    store.add_step_log(pinned, step(name, status="PROCESSING"))
    store.append_metrics(pinned, name, {"m": [MetricPoint(1, name)]})
    store.add_step_log(pinned, step(name, status="SUCCESS"))
    return before


def check_whole(log):
    for name, found in log.steps.items():
        assert found.name == name


def delete(store, run_id):
    found = []

    def note():
        found.append(store.get_run_log(run_id, full=False).incarnation)
        return True

    store.delete_run_if(run_id, note)
    return found[0]


@_stores
def test_what_was_acknowledged_is_in_one_run_or_that_run_was_deleted(tmp_path, open_store):
    told = run_processes(live_through, [(open_store, str(tmp_path), number, 30) for number in range(4)])
    deleted = {incarnation for _, gone in told for incarnation in gone}
    logs = {}
    store = open_store(tmp_path)
    for summary in store.list_runs():
        log = store.get_run_log(summary.run_id, strict=True)
        logs[log.incarnation] = log
    assert not deleted & set(logs)
    where = {}
    for incarnation, log in logs.items():
        for name in log.steps:
            assert where.setdefault(name, incarnation) == incarnation
    for name, incarnation in (entry for acknowledged, _ in told for entry in acknowledged):
        if incarnation in deleted:
            continue
        found = logs[incarnation].steps[name]
        assert (found.status, [point.value for point in found.metric_series["m"]]) == ("SUCCESS", [name])
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.startswith((".tmp-", ".aside-"))]

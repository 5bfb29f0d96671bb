"""Data belongs to the run that put it, whoever else uses the catalog and whichever run had the id before."""

import os
import shutil
from pathlib import Path

import pytest
from processes import run_processes
from stores.incarnations import RUN, every_store, files

import chunkstore
from chunkstore.maintenance import retention
from chunkstore.maintenance.importing import import_runs
from chunkstore.maintenance.retention import Rule, deleting
from chunkstore.recording.catalog import catalog_of, on_disk


@pytest.fixture
def work():
    """The folder in which every test here works."""
    return Path.cwd()


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


@every_store
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


@every_store
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
    original = on_disk.take

    def deleted(source, file, *rest, **options):
        Path(source.location, file).unlink()
        return original(source, file, *rest, **options)

    monkeypatch.setattr(on_disk, "take", deleted)
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


@pytest.mark.thorough
def test_processes_that_put_and_delete_data_in_one_catalog_do_not_meet(tmp_path):
    run_processes(put_and_collect, [(str(tmp_path), number, 25) for number in range(3)])
    assert [path for path in (tmp_path / "data").iterdir() if path.name not in (".runs", ".lock")] == []


def test_a_folder_of_claims_that_a_stopped_deletion_left_empty_goes_with_the_next(tmp_path, work):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "logs"))
    put(store, "data")
    incarnation = store.get_run_log(RUN).incarnation
    shutil.rmtree(Path(store.catalog_path, RUN))
    Path(store.catalog_path, ".runs", RUN, incarnation).rmdir()
    catalog_of(store, RUN, incarnation).remove()
    assert data_in(store) == []

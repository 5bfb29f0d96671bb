"""Each run is moved once and whole, whoever moves it at the same time, is killed, or does it again."""

import pytest
from processes import Forked, run_processes

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.maintenance.importing import import_runs
from chunkstore.records.models import StepLog
from chunkstore.testing.faults import WRITING_CALLS, KillingSyscalls
from chunkstore.testing.suite_sharing import run_threads
from maintenance.importing.targets import PERSISTENT, ids, import_all, one_of_each, open_target
from maintenance.layouts import (
    RUN,
    UNKNOWN,
    assert_nothing_is_lost,
    rich_run,
    run,
    snapshot,
    step,
    write_document,
    write_folder_of_2024,
    write_folder_of_2025,
)


@pytest.fixture(params=PERSISTENT)
def persistent(request, tmp_path):
    return open_target(request.param, tmp_path / "target")


def test_a_second_import_changes_nothing(source, persistent, tmp_path):
    runs = one_of_each(source)
    import_all(source, persistent)
    before = snapshot(tmp_path / "target")
    report = import_all(source, persistent)
    assert report.imported == []
    assert sorted(report.present) == [content["run_id"] for content in runs]
    assert snapshot(tmp_path / "target") == before


def test_a_run_that_the_store_holds_is_left_alone(source, store):
    store.create_run_log(RUN, tag="mine", parameters={"a": 1})
    before = store.get_run_log(RUN).to_json()
    write_document(source, rich_run())
    assert import_all(source, store).present == [RUN]
    assert store.get_run_log(RUN).to_json() == before


def test_an_imported_run_can_be_continued_and_imports_no_more(source, store):
    write_folder_of_2025(source, rich_run())
    import_all(source, store)
    store.add_step_log(RUN, StepLog(name="late", internal_name="late"))
    store.update_step_log(RUN, "zeta", lambda found: setattr(found, "message", "seen"))
    store.set_parameters(RUN, {"late": 1})
    assert import_all(source, store).present == [RUN]
    log = store.get_run_log(RUN, strict=True)
    assert (list(log.steps)[-1], log.steps["zeta"].message, log.parameters["late"]) == ("late", "seen", 1)
    assert log.steps["zeta"].extra == UNKNOWN


@pytest.mark.thorough
@pytest.mark.parametrize("unnamed", [True, False], ids=["unnamed", "temporary"])
@pytest.mark.parametrize("layout", PERSISTENT.values(), ids=list(PERSISTENT))
def test_an_import_that_is_killed_anywhere_leaves_whole_runs_and_can_be_done_again(
    layout, unnamed, source, tmp_path, monkeypatch
):
    if not unnamed:
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    runs = {name: run(name, step("s", 1), step("t", 2), parameters={"a": 1}) for name in ("a", "b")}
    write_document(source, runs["a"])
    write_folder_of_2025(source, runs["b"])
    killed_at, finished = 0, False
    while not finished:
        killed_at += 1
        target = tmp_path / f"target-{killed_at}"

        def work(say, target=target, at=killed_at):
            import_all(source, layout(DirectoryBackend(target, syscalls=KillingSyscalls(at=at, only=WRITING_CALLS))))
            say("finished")

        with Forked(work) as child:
            finished = child.wait_for_line() == "finished"
        store = layout(DirectoryBackend(target))
        before = ids(store)
        for run_id in before:
            assert_nothing_is_lost(store, runs[run_id])
        report = import_all(source, store)
        assert (report.present, sorted(report.imported + report.present)) == (before, ["a", "b"])
        for content in runs.values():
            assert_nothing_is_lost(store, content)
    assert killed_at > 8


def import_into(source, store_type, target):
    report = import_all(source, open_target(store_type, target))
    return report.imported, report.present


@pytest.mark.parametrize("store_type", PERSISTENT)
def test_many_imports_at_once_record_each_run_once(store_type, source, tmp_path):
    runs = [run(f"run-{number:02}", step("s", 1), parameters={"a": number}) for number in range(30)]
    for number, content in enumerate(runs):
        (write_document if number % 2 else write_folder_of_2024)(source, content)
    names = [content["run_id"] for content in runs]
    results = run_processes(import_into, [(source, store_type, tmp_path / "target")] * 4)
    assert sorted(run_id for imported, _ in results for run_id in imported) == names
    for imported, present in results:
        assert sorted(imported + present) == names
    store = open_target(store_type, tmp_path / "target")
    for content in runs:
        assert_nothing_is_lost(store, content)


def test_threads_that_import_into_one_store_record_each_run_once(source, store):
    names = [f"run-{number:02}" for number in range(20)]
    for name in names:
        write_document(source, run(name, step("s", 1)))
    reports = run_threads([lambda: import_all(source, store)] * 4)
    assert sorted(run_id for report in reports for run_id in report.imported) == names
    for name in names:
        assert_nothing_is_lost(store, run(name, step("s", 1)))


def test_progress_is_told_before_each_run(source, chunked):
    one_of_each(source)
    told = []
    import_runs(str(source), chunked, progress=lambda *news: told.append((*news, len(ids(chunked)))))
    assert told == [(f"run-{number}", number, 5, number) for number in range(5)]

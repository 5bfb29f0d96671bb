"""Moving in: whatever was recorded elsewhere is brought over whole, once, and nothing that is odd stands in the way."""

import copy
import json
import math
import os
import shutil
import socket

import pytest
from processes import Forked, run_processes

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import ConfigurationError
from chunkstore.maintenance.importing import ImportProblem, import_runs
from chunkstore.names import encode_for_file
from chunkstore.plugins.runnable import ChunkstoreRunLogStore
from chunkstore.records.codec import revive
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.faults import WRITING_CALLS, KillingSyscalls
from chunkstore.testing.suite_sharing import run_threads
from maintenance.layouts import (
    LAYOUTS,
    RUN,
    UNKNOWN,
    assert_nothing_is_lost,
    assert_same,
    attempt,
    branch,
    records_of,
    rich_run,
    run,
    snapshot,
    step,
    write_document,
    write_folder_of_2024,
    write_folder_of_2025,
    write_json,
    write_own_document,
    write_own_folder,
)
from maintenance.runnable_runs import JOB, NOT_FINITE, PIPELINE, STORES, record_job, record_pipeline

PERSISTENT = {"chunked-fs": ChunkedStore, "file-system": DocumentStore}
FIRST, LAST = "0-first", "z-last"

every_layout = pytest.mark.parametrize("write", LAYOUTS.values(), ids=list(LAYOUTS))
every_folder = pytest.mark.parametrize("write", [write_folder_of_2025, write_folder_of_2024], ids=["2025", "2024"])


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture(params=["chunked-fs", "file-system", "buffered"])
def store(request, tmp_path):
    return open_target(request.param, tmp_path / "target")


@pytest.fixture(params=PERSISTENT)
def persistent(request, tmp_path):
    return open_target(request.param, tmp_path / "target")


@pytest.fixture
def chunked(tmp_path):
    return open_target("chunked-fs", tmp_path / "target")


def open_target(store_type, folder):
    options = {} if store_type == "buffered" else {"log_folder": folder, "durability": "process"}
    return chunkstore.open_store(store_type, **options)


def import_all(source, store):
    """Import a folder in which everything can be read."""
    report = import_runs(str(source), store)
    assert report.problems == []
    return report


def ids(store):
    return sorted(summary.run_id for summary in store.list_runs())


def one_of_each(source):
    """Write a run in every layout into one folder; return them."""
    runs = [rich_run(f"run-{number}") for number in range(len(LAYOUTS))]
    for write, content in zip(LAYOUTS.values(), runs, strict=True):
        write(source, content)
    return runs


# --- nothing is lost -------------------------------------------------------------------------------------------------


@every_layout
def test_no_field_of_any_layout_is_lost_in_any_store(write, source, store):
    write(source, rich_run())
    report = import_all(source, store)
    assert (report.imported, report.present) == ([RUN], [])
    assert_nothing_is_lost(store, rich_run())


def test_all_layouts_may_stand_in_one_folder(source, store):
    runs = one_of_each(source)
    report = import_all(source, store)
    assert sorted(report.imported) == ids(store) == [content["run_id"] for content in runs]
    for content in runs:
        assert_nothing_is_lost(store, content)


def test_what_runnable_wrote_in_2024_is_imported_whole(golden, store):
    report = import_all(golden, store)
    (document,) = golden.glob("*.json")
    (folder,) = (path for path in golden.iterdir() if path.is_dir())
    assert sorted(report.imported) == sorted([document.stem, folder.name])
    assert_nothing_is_lost(store, json.loads(document.read_text()))
    (record,) = folder.glob("StepLog-*.json")
    whole = {**json.loads((folder / "RunLog.json").read_text()), "steps": {"simple": json.loads(record.read_text())}}
    assert_nothing_is_lost(store, whole)


@every_layout
def test_the_source_is_never_written(write, source, store, tmp_path):
    write(source, rich_run())
    before = snapshot(source)
    import_all(source, store)
    import_all(source, store)
    assert snapshot(source) == before


@pytest.mark.parametrize("encode", [encode_for_file, lambda name: name.replace("/", "_"), lambda name: "x"])
def test_records_of_2024_are_found_however_their_files_are_named(encode, source, chunked):
    content = rich_run()
    content["parameters"] = {"a": 1}
    write_folder_of_2024(source, content, encode)
    import_all(source, chunked)
    assert_nothing_is_lost(chunked, content)


@every_layout
def test_nan_and_infinities_are_floats_again(write, source, store):
    write(source, run(RUN, step("s", 1, user_defined_metrics={"a": math.nan}), parameters={"b": [math.inf, -math.inf]}))
    import_all(source, store)
    log = store.get_run_log(RUN)
    assert math.isnan(log.steps["s"].user_defined_metrics["a"])
    assert log.parameters == {"b": [math.inf, -math.inf]}


@every_layout
def test_steps_stay_in_order_of_execution(write, source, store):
    names = ["z", "y", "a.b", "m", "B", "0", "\u6a21", "a"]
    inner = [step(f"z.i.{name}", minute, name=name) for minute, name in enumerate(names, 10)]
    outer = [step(name, minute, name=name) for minute, name in enumerate(names[1:], 30)]
    write(source, run(RUN, step("z", 1, branches=[branch("z.i", *inner)]), *outer))
    import_all(source, store)
    log = store.get_run_log(RUN, strict=True)
    assert list(log.steps) == names
    assert list(log.steps["z"].branches["z.i"].steps) == [f"z.i.{name}" for name in names]


@every_layout
@pytest.mark.parametrize(
    "items",
    [["c", "a", "b"], ["10", "9", "8"], ["-2", "-1", "0", "1"], ["2024-01-31", "2024-02-01"], ["x-9", "w", "v-8"]],
    ids=lambda items: items[0],
)
def test_branches_stay_in_order_of_execution_whatever_they_are_called(write, items, source, store):
    branches = [branch(f"m.{item}", step(f"m.{item}.s", minute)) for minute, item in enumerate(items, 2)]
    write(source, run(RUN, step("m", 1, branches=branches)))
    import_all(source, store)
    assert list(store.get_run_log(RUN).steps["m"].branches) == [f"m.{item}" for item in items]


@every_layout
@pytest.mark.parametrize("levels", [1, 2, 5, 20])
def test_steps_nest_in_branches_in_steps(write, levels, source, store):
    name, inner = ".".join(["s.b"] * levels), []
    for minute in range(levels, 0, -1):
        own = name.rpartition(".")[0]
        inner = [step(own, minute, branches=[branch(name, *inner, parameters={"level": minute})])]
        name = own.rpartition(".")[0]
    write(source, run(RUN, *inner))
    import_all(source, store)
    assert_nothing_is_lost(store, run(RUN, *inner))


@pytest.mark.parametrize(
    "item", ["two\nlines", "\n", "a.json", "ajson", "json", "a.csv", "..", " ", "%", "~", "-", "1-"]
)
def test_a_branch_of_2025_is_found_whatever_it_is_called(item, source, chunked):
    name = f"m.{item}"
    content = run(RUN, step("m", 1, branches=[branch(name, step(f"{name}.s", 2), parameters={"a": 1})]))
    # runnable adds the suffix only where the name does not end in its letters.
    write_folder_of_2025(source, content)
    if item.endswith("json"):
        (source / RUN / f"BranchLog-{name}.json").rename(source / RUN / f"BranchLog-{name}")
    import_all(source, chunked)
    assert_nothing_is_lost(chunked, content)


@pytest.mark.parametrize("key", ["two\nlines", "\n", "a.json", "", "root", "branch", "parameters"])
def test_a_parameter_of_2024_is_found_whatever_it_is_called(key, source, chunked):
    write_folder_of_2024(source, run(RUN, parameters={key: {"b": 1}, "other": 2}), encode=lambda name: name)
    import_all(source, chunked)
    assert chunked.get_parameters(RUN) == {key: {"b": 1}, "other": 2}


def test_the_file_of_a_branch_counts_and_not_a_copy_of_it_in_the_record_of_the_run(source, chunked):
    """A run that runnable's own store was given whole stands there with its branches as they were then."""
    stale = branch("m.a", step("m.a.s", 2, status="PROCESSING", attempts=[]), status="PROCESSING", parameters={"a": 0})
    fresh = branch("m.a", step("m.a.s", 2), parameters={"a": 1})
    write_folder_of_2025(source, run(RUN, step("m", 1, branches=[fresh])))
    write_json(source / RUN / "RunLog.json", run(RUN, step("m", 1, branches=[stale])))
    import_all(source, chunked)
    assert_nothing_is_lost(chunked, run(RUN, step("m", 1, branches=[fresh])))


def test_the_newer_record_of_a_step_counts(source, store):
    content = run(RUN, step("s", 1))
    write_folder_of_2024(source, content)
    write_json(source / RUN / "StepLog-s-1706852999999999999.json", step("s", 2, message="newer"))
    import_all(source, store)
    assert store.get_step_log(RUN, "s").message == "newer"


def test_records_that_stand_inside_records_of_2024_are_kept(source, store):
    inner = branch("p.a", step("p.a.s", 2), parameters={"a": 1}, **UNKNOWN)
    write_folder_of_2024(source, run(RUN))
    write_json(source / RUN / "StepLog-p-1706852981689005000.json", step("p", 1, branches=[inner]))
    import_all(source, store)
    assert_nothing_is_lost(store, run(RUN, step("p", 1, branches=[inner])))


def test_when_a_run_began_and_ended_is_known_from_its_attempts(source, store):
    inner = branch("m.a", step("m.a.s", 0, attempts=[attempt(2), attempt(50)]))
    write_document(source, run(RUN, step("m", 5, branches=[inner]), step("end", 0, attempts=[])))
    import_all(source, store)
    (summary,) = store.list_runs()
    assert summary.start_time.startswith("2024-02-02 05:02:00")
    assert summary.end_time.startswith("2024-02-02 05:50:59")


def test_a_time_that_is_none_is_not_taken_for_the_end_of_a_run(source, store):
    odd = attempt(3, start_time="once upon a time", end_time="at last")
    write_document(source, run(RUN, step("s", 1, attempts=[attempt(1), odd, attempt(2, end_time="")])))
    import_all(source, store)
    (summary,) = store.list_runs()
    assert summary.start_time.startswith("2024-02-02 05:01:00")
    assert summary.end_time.startswith("2024-02-02 05:01:59")


# --- once, and whole -------------------------------------------------------------------------------------------------


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


# --- what stands in the way ------------------------------------------------------------------------------------------


def write_text(name, text):
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def write_chunk(name, text):
    def write(folder):
        write_folder_of_2025(folder, run("odd", step("kept", 1)))
        write_text(f"odd/{name}", text)(folder)

    return write


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # paths of sockets are short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def in_odd_folder(make):
    def write(folder):
        write_folder_of_2025(folder, run("odd", step("kept", 1)))
        make(folder / "odd")

    return write


def deep_run(levels):
    return '{"run_id": "odd", "steps": {"s": ' + deep_step(levels) + "}}"


def deep_step(levels):
    """Return JSON of steps in branches in steps; Python's `json` would refuse to write it."""
    text, name = "", "s"
    for level in range(levels):
        text += f'"{name}": ' if level else ""
        text += f'{{"name": "s", "internal_name": "{name}", "branches": {{"{name}.b": {{'
        text += f'"internal_name": "{name}.b", "steps": {{'
        name += ".b.s"
    return text + "}}}}" * levels


PERHAPS = object()
#: What may lie beside runs, and the file of which the report must speak; none where it is nothing like a run, and
#: perhaps none where nobody can tell.
OBSTACLES = {
    "empty file": (write_text("odd.json", ""), "odd.json"),
    "blank file": (write_text("odd.json", " \n"), "odd.json"),
    "zeros": (write_text("odd.json", b"\0" * 4096), "odd.json"),
    "cut off": (write_text("odd.json", '{"run_id": "odd", "sta'), "odd.json"),
    "no utf-8": (write_text("odd.json", b'{"run_id": "odd", "tag": "\xff"}'), "odd.json"),
    "two values": (write_text("odd.json", '{"run_id": "odd"}{}'), "odd.json"),
    "list": (write_text("odd.json", "[]"), "odd.json"),
    "null": (write_text("odd.json", "null"), "odd.json"),
    "number": (write_text("odd.json", "NaN"), "odd.json"),
    "other document": (write_text("odd.json", '{"name": "x", "version": "1.0.0"}'), "odd.json"),
    "other run": (write_text("odd.json", '{"run_id": "even"}'), "odd.json"),
    "own run under another name": (
        write_text("odd.json", '{"run_id": "even", "run_config": {"chunkstore": {}}}'),
        "odd.json",
    ),
    "configuration is a number": (write_text("odd.json", '{"run_id": "odd", "run_config": 5}'), "odd.json"),
    "configuration is true": (write_text("odd.json", '{"run_id": "odd", "run_config": true}'), "odd.json"),
    "configuration is a text": (write_text("odd.json", '{"run_id": "odd", "run_config": "chunkstore"}'), "odd.json"),
    "configuration is a list": (write_text("odd.json", '{"run_id": "odd", "run_config": ["chunkstore"]}'), "odd.json"),
    "configuration of a folder": (
        in_odd_folder(lambda odd: write_json(odd / "RunLog.json", {"run_id": "odd", "run_config": 5})),
        "odd/RunLog.json",
    ),
    "brackets": (write_text("odd.json", "[" * 1_000_000), "odd.json"),
    "objects": (write_text("odd.json", '{"a":' * 100_000), "odd.json"),
    "nested 200 deep": (write_text("odd.json", deep_run(200)), PERHAPS),  # a newer Python reads that
    "nested 240 deep": (write_text("odd.json", deep_run(240)), "odd.json"),
    "nested 400 deep": (write_text("odd.json", deep_run(400)), "odd.json"),
    "deep value": (write_text("odd.json", f'{{"run_id": "odd", "parameters": {{"a": {"[" * 200}{"]" * 200}}}}}'), ""),
    "deep unknown field": (write_text("odd.json", f'{{"run_id": "odd", "tags": {"[" * 900}{"]" * 900}}}'), ""),
    "long integer": (write_text("odd.json", '{"run_id": "odd", "tags": %s}' % ("9" * 5000)), "odd.json"),
    "half a surrogate pair": (write_text("odd.json", '{"run_id": "odd", "tag": "\\ud800"}'), ""),
    "newer format": (write_text("odd.json", '{"run_id": "odd", "run_config": {"chunkstore": {"format": 99}}}'), ""),
    "run id with a colon": (write_text("a:b.json", '{"run_id": "a:b"}'), ""),
    "run id with a line break": (write_text("a\nb.json", '{"run_id": "a\\nb"}'), ""),
    "run id that is not ASCII": (write_text("\u6a21.json", '{"run_id": "\u6a21"}'), ""),
    "run id that is no text": (
        lambda folder: open(os.fsencode(folder) + b"/\xff.json", "wb").close(),
        "",
    ),
    "run id that ends in a dot": (write_text("a..json", '{"run_id": "a."}'), ""),
    "long run id": (write_text(f"{'a' * 201}.json", '{"run_id": "%s"}' % ("a" * 201)), ""),
    "no name but a suffix": (write_text(".json", '{"run_id": ""}'), None),
    "hidden file": (write_text(".odd.json", "{"), None),
    "lock": (write_text(".odd.lock", ""), None),
    "other file": (write_text("odd.txt", "{"), None),
    "other folder": (lambda folder: (folder / "odd").mkdir(), None),
    "other folder with files": (
        lambda folder: ((folder / "odd").mkdir(), write_text("odd/package.json", "{}")(folder)),
        None,
    ),
    "hidden folder": (lambda folder: (folder / ".tmp-1").mkdir(), None),
    "folder with a suffix": (lambda folder: (folder / "odd.json").mkdir(), None),
    "pipe": (lambda folder: os.mkfifo(folder / "odd"), PERHAPS),
    "pipe with a suffix": (lambda folder: os.mkfifo(folder / "odd.json"), "odd.json"),
    "socket": (lambda folder: make_socket(folder / "odd"), PERHAPS),
    "link to a file": (lambda folder: os.symlink(folder / f"{FIRST}.json", folder / "odd.json"), "odd.json"),
    "link to a folder": (lambda folder: os.symlink("/", folder / "odd"), PERHAPS),
    "link to a run": (lambda folder: os.symlink(folder / LAST, folder / "odd"), "odd"),
    "link to itself": (lambda folder: os.symlink("odd.json", folder / "odd.json"), "odd.json"),
    "link to nothing": (lambda folder: os.symlink("nowhere", folder / "odd"), PERHAPS),
    "record: empty": (write_chunk("StepLog-s-1706852981689005000.json", ""), "odd/StepLog-s-1706852981689005000.json"),
    "record: cut off": (write_chunk("BranchLog-a.b.json", '{"internal'), "odd/BranchLog-a.b.json"),
    "record: no utf-8": (write_chunk("BranchLog-a.b.json", b'{"internal_name": "\xff"}'), "odd/BranchLog-a.b.json"),
    "record: list": (write_chunk("BranchLog-a.b.json", "[]"), "odd/BranchLog-a.b.json"),
    "record: no name": (write_chunk("StepLog-s-1.json", '{"name": "s"}'), "odd/StepLog-s-1.json"),
    "record: empty name": (
        write_chunk("StepLog-s-1.json", '{"name": "", "internal_name": ""}'),
        "odd/StepLog-s-1.json",
    ),
    "record: brackets": (write_chunk("StepLog-s-1.json", "[" * 100_000), "odd/StepLog-s-1.json"),
    "record: nested 200 deep": (write_chunk("StepLog-s-1.json", deep_step(200)), PERHAPS),
    "record: deep value": (
        write_chunk("StepLog-s-1.json", f'{{"name": "s", "internal_name": "s", "odd": {"[" * 200}{"]" * 200}}}'),
        "odd/StepLog-s-1.json",
    ),
    "record: half a surrogate pair": (
        write_chunk("StepLog-s-1.json", '{"name": "s", "internal_name": "s", "message": "\\ud800"}'),
        "odd/StepLog-s-1.json",
    ),
    "record: link": (
        in_odd_folder(lambda odd: os.symlink("RunLog.json", odd / "StepLog-s-1.json")),
        "odd/StepLog-s-1.json",
    ),
    "record: pipe": (in_odd_folder(lambda odd: os.mkfifo(odd / "BranchLog-a.b.json")), "odd/BranchLog-a.b.json"),
    "record: folder": (in_odd_folder(lambda odd: (odd / "BranchLog-a.b.json").mkdir()), "odd/BranchLog-a.b.json"),
    "record: file name that is no text": (
        in_odd_folder(lambda odd: open(os.fsencode(odd) + b"/StepLog-\xff-1.json", "wb").close()),
        "odd/StepLog-",
    ),
    "parameter: list": (write_chunk("Parameter-a.json", "[1]"), "odd/Parameter-a.json"),
    "parameter: empty": (write_chunk("Parameter-a.json", ""), "odd/Parameter-a.json"),
    "parameter: pipe": (in_odd_folder(lambda odd: os.mkfifo(odd / "Parameter-a.json")), "odd/Parameter-a.json"),
}


@pytest.mark.parametrize(("write", "file"), OBSTACLES.values(), ids=list(OBSTACLES))
def test_what_cannot_be_read_is_reported_and_hides_nothing(write, file, source, chunked):
    write_document(source, run(FIRST, step("s", 1)))
    write_folder_of_2024(source, run(LAST, step("s", 1)))
    write(source)
    before = snapshot(source)
    report = import_runs(str(source), chunked)
    for run_id in (FIRST, LAST):
        assert run_id in report.imported
        assert_nothing_is_lost(chunked, run(run_id, step("s", 1)))
    if file is None:
        assert (len(report.imported), report.problems) == (2, [])
    elif file is PERHAPS:
        assert {problem.run_id for problem in report.problems} <= {"odd"}
    else:
        (problem,) = report.problems
        assert problem.file.startswith(file)
        assert len(problem.message) > 10
        assert f"{problem.run_id} {problem.file} {problem.message}".encode(), "it can be shown"
    if isinstance(file, str) and file.startswith(("odd/Step", "odd/Branch", "odd/Parameter")):
        assert report.imported == [FIRST, "odd", LAST]
        assert list(chunked.get_run_log("odd").steps) == ["kept"]
    assert snapshot(source) == before


@pytest.mark.parametrize("levels", range(40, 260, 20))
def test_a_run_nested_however_deep_is_imported_or_reported(levels, source):
    store = chunkstore.open_store("buffered")
    write_text("odd.json", deep_run(levels))(source)
    report = import_runs(str(source), store)
    if report.problems:
        (problem,) = report.problems
        assert (problem.run_id, report.imported) == ("odd", [])
        assert levels > 50
    else:
        assert report.imported == ["odd"]


def test_a_record_of_the_run_that_is_missing_is_reported_and_the_rest_is_kept(source, store):
    write_folder_of_2024(source, rich_run())
    (source / RUN / "RunLog.json").unlink()
    report = import_runs(str(source), store)
    assert (report.imported, report.problems) == ([RUN], [ImportProblem(RUN, f"{RUN}/RunLog.json", "it is missing")])
    assert_same(rich_run()["steps"], store.get_run_log(RUN).to_dict()["steps"])


def test_a_folder_of_another_run_is_reported(source, store):
    write_folder_of_2025(source, rich_run())
    (source / RUN).rename(source / "renamed")
    report = import_runs(str(source), store)
    assert report.problems[0].file == "renamed/RunLog.json"
    assert RUN in report.problems[0].message


def test_records_without_a_place_are_kept_and_shown(source, store):
    write_folder_of_2024(source, run(RUN, step("p", 1, branches=[branch("p.a", step("p.a.s", 2, **UNKNOWN))])))
    for file in (source / RUN).glob("BranchLog-*"):
        file.unlink()
    import_runs(str(source), store)
    log = store.get_run_log(RUN)
    assert [problem.kind for problem in log.problems] == ["orphan"]
    assert log.orphans.steps["p.a.s"].extra == UNKNOWN


@pytest.mark.parametrize("store_type", PERSISTENT)
def test_what_was_mended_is_imported_the_next_time(store_type, source, tmp_path):
    store = open_target(store_type, tmp_path / "target")
    write_text(f"{RUN}.json", '{"run_id":')(source)
    assert import_runs(str(source), store).imported == []
    write_document(source, rich_run())
    assert import_all(source, store).imported == [RUN]
    assert_nothing_is_lost(store, rich_run())


def test_a_run_of_which_nothing_can_be_read_is_not_recorded_so_that_it_can_be_mended(source, store):
    write_folder_of_2025(source, run(RUN, step("s", 1)))
    write_text(f"{RUN}/RunLog.json", '{"run_id":')(source)
    assert len(import_runs(str(source), store).problems) == 1
    write_json(source / RUN / "RunLog.json", run(RUN, step("s", 1)))
    assert import_all(source, store).imported == [RUN]


@pytest.mark.parametrize("write", [write_document, write_folder_of_2024, write_own_folder])
def test_a_run_that_is_removed_meanwhile_hides_nothing(write, source, store):
    for run_id in (FIRST, RUN, LAST):
        write(source, run(run_id, step("s", 1)))

    def remove(run_id, *_):
        for path in source.iterdir():
            if run_id == RUN and path.stem == RUN:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    report = import_runs(str(source), store, progress=remove)
    assert report.imported == [FIRST, LAST]
    assert [problem.run_id for problem in report.problems] == [RUN]


def test_a_run_that_stands_there_in_two_layouts_is_not_passed_over_in_silence(source, store):
    write_folder_of_2024(source, run(RUN, tag="of the folder"))
    write_document(source, run(RUN, tag="of the document"))
    report = import_runs(str(source), store)
    assert report.imported == [RUN]
    assert [problem.file for problem in report.problems] == [f"{RUN}.json"]


def test_a_run_that_cannot_be_recorded_hides_nothing(source, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / RUN).write_text("no folder")
    for run_id in (FIRST, RUN, LAST):
        write_document(source, run(run_id))
    report = import_runs(str(source), open_target("chunked-fs", tmp_path / "target"))
    assert report.imported == [FIRST, LAST]
    assert [(problem.run_id, problem.file) for problem in report.problems] == [(RUN, f"{RUN}.json")]


ODD_VALUES = [None, True, 5, "x", [], {}, [5], {"x": 5}]


def paths_of(value, path=()):
    """Yield the way to everything inside a JSON value; not to names, which decide where a record belongs."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        if key not in ("internal_name", "name", "run_id"):
            yield (*path, key)
        yield from paths_of(inner, (*path, key))


def test_whatever_a_field_holds_the_run_is_imported_without_loss_or_reported(tmp_path):
    identity = {"code_identifier": "a", "odd": 1}
    tried = attempt(1, code_identities=[identity], user_defined_metrics={"a": 1})
    task = step("p.a.s", 2, attempts=[tried], data_catalog=[{"name": "d"}], code_identities=[identity])
    content = run(RUN, step("p", 1, branches=[branch("p.a", task)]), job={"attempts": []}, run_config={"a": 1}, odd={})
    store = chunkstore.open_store("buffered")
    outcomes = set()
    for number, path in enumerate(paths_of(content)):
        for index, value in enumerate(ODD_VALUES):
            folder = tmp_path / f"{number}-{index}"
            folder.mkdir()
            odd = {**copy.deepcopy(content), "run_id": folder.name}
            target = odd
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = value
            write_document(folder, odd)
            report = import_runs(str(folder), store)
            outcomes.add(bool(report.imported))
            if report.imported:
                assert_nothing_is_lost(store, odd)
            else:
                assert [problem.file for problem in report.problems] == [f"{folder.name}.json"], path
    assert outcomes == {True, False}


def test_a_folder_that_does_not_exist_is_said_to_be_none(tmp_path, store):
    with pytest.raises(ConfigurationError, match="no such folder") as raised:
        import_runs(str(tmp_path / "nowhere"), store)
    assert (raised.value.key, raised.value.file) == ("source", str(tmp_path / "nowhere"))


def test_a_file_is_no_folder(tmp_path, store):
    (tmp_path / "file.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="folder"):
        import_runs(str(tmp_path / "file.json"), store)


def test_an_empty_folder_holds_no_runs(source, store, tmp_path):
    report = import_all(source, store)
    assert (report.imported, report.present) == ([], [])
    assert not (tmp_path / "target").exists()


def test_the_source_may_be_a_link_to_a_folder_and_relative(source, store, tmp_path, monkeypatch):
    runs = one_of_each(source)
    (tmp_path / "link").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    assert sorted(import_all("link", store).imported) == [content["run_id"] for content in runs]
    for content in runs:
        assert_nothing_is_lost(store, content)


# --- runs of chunkstore itself ---------------------------------------------------------------------------------------


def used_store(store_type, folder):
    """Return a store whose run was changed by others and got metrics, as every store may have one."""
    store = open_target(store_type, folder)
    recorded = store.start_run(RUN, tag="nightly", parameters={"seed": 7}, capture_output=False)
    with recorded, recorded.step("train") as train:
        train.log_metric("loss", math.nan, step=1)
        train.log_metric("loss", 0.5, step=2)
        train.log_metric("rows", 3)
    other = open_target(store_type, folder)
    other.update_step_log(RUN, "train", lambda found: setattr(found, "message", "changed by another"))
    other.append_metrics(RUN, "train", {"loss": [MetricPoint(3, math.inf, "late")]})
    other.add_step_log(RUN, StepLog(name="lost", internal_name="gone.branch.lost"))
    other.set_parameters(RUN, {"a": {"$float": "NaN"}}, "gone.branch")
    other.set_parameters(RUN, {"b": math.nan})
    return store


def without_notes(log):
    shown = log.to_dict()
    shown["run_config"].pop("chunkstore", None)
    return shown


@pytest.mark.parametrize("source_type", PERSISTENT)
def test_a_run_of_chunkstore_moves_with_changes_metrics_and_orphans(source_type, source, store):
    own = used_store(source_type, source)
    before = own.get_run_log(RUN)
    assert before.steps["train"].metric_series["loss"][2] == MetricPoint(3, math.inf, "late")
    assert import_runs(str(source), store).imported == [RUN]
    found = store.get_run_log(RUN)
    assert repr(without_notes(found)) == repr(without_notes(before))
    assert (found.notes["created"], found.notes["finished"]) == (before.notes["created"], before.notes["finished"])


def continued(store_type, golden, folder):
    """Return the store and the id of a run that runnable began and chunkstore went on with."""
    shutil.copytree(golden, folder, dirs_exist_ok=True)
    store = open_target(store_type, folder)
    run_id = "pleasant-lamarr-0549" if store_type == "chunked-fs" else "blocking-shaw-0538"
    store.update_step_log(run_id, "simple", lambda found: setattr(found, "message", "seen"))
    store.append_metrics(run_id, "simple", {"loss": [MetricPoint(1, 0.5)]})
    store.set_parameters(run_id, {"a": 1})
    store.add_step_log(run_id, StepLog(name="late", internal_name="late"))
    return store, run_id


@pytest.mark.parametrize("source_type", PERSISTENT)
def test_a_run_that_chunkstore_has_continued_moves_as_its_store_shows_it(source_type, golden, source, store):
    own, run_id = continued(source_type, golden, source)
    before = own.get_run_log(run_id, strict=True)
    import_all(source, store)
    found = store.get_run_log(run_id, strict=True)
    assert (found.steps["simple"].message, found.parameters) == ("seen", {"a": 1})
    assert repr(without_notes(found)) == repr(without_notes(before))


def test_a_run_of_chunkstore_whose_own_record_is_damaged_moves_as_its_store_shows_it(source, store):
    own = used_store("chunked-fs", source)
    write_text(f"{RUN}/RunLog.json", '{"run')(source)
    before = own.get_run_log(RUN)
    report = import_runs(str(source), store)
    assert f"{RUN}/RunLog.json" in [problem.file for problem in report.problems]
    found = store.get_run_log(RUN)
    assert (found.parameters, found.steps) == (before.parameters, before.steps)


@pytest.mark.parametrize("source_type", PERSISTENT)
def test_problems_of_a_run_of_chunkstore_are_reported(source_type, source, store):
    used_store(source_type, source)
    report = import_runs(str(source), store)
    messages = " ".join(problem.message for problem in report.problems)
    assert "gone.branch.lost" in messages


@pytest.mark.parametrize("store_type", PERSISTENT)
def test_a_store_that_is_imported_into_itself_stays_as_it_is(store_type, source):
    used_store(store_type, source)
    before = snapshot(source)
    report = import_runs(str(source), open_target(store_type, source))
    assert (report.imported, report.present, report.problems) == ([], [RUN], [])
    assert snapshot(source) == before


@pytest.mark.parametrize(
    ("write", "store_type"),
    [
        (write_document, "chunked-fs"),
        (write_own_document, "chunked-fs"),
        (write_folder_of_2025, "file-system"),
        (write_folder_of_2024, "file-system"),
        (write_own_folder, "file-system"),
    ],
)
def test_a_folder_may_take_in_its_own_runs_in_the_other_layout(write, store_type, source):
    write(source, rich_run())
    before = snapshot(source)
    store = open_target(store_type, source)
    assert import_all(source, store).imported == [RUN]
    assert_nothing_is_lost(store, rich_run())
    after = snapshot(source)
    del before[str(source)]  # the folder itself has got an entry
    assert before.items() <= after.items()
    assert import_runs(str(source), store).imported == []
    assert snapshot(source) == after


@every_folder
def test_a_folder_of_runnable_that_is_imported_into_itself_is_shown_whole_or_reported(write, source):
    write(source, rich_run())
    store = open_target("chunked-fs", source)
    report = import_runs(str(source), store)
    assert report.imported == []
    if not report.problems:
        found = {record["internal_name"] for record in records_of(store.get_run_log(RUN).to_dict()["steps"])}
        assert found == {record["internal_name"] for record in records_of(rich_run()["steps"])}


# --- runnable --------------------------------------------------------------------------------------------------------


def as_runnable_reads(store, run_id):
    return store.get_run_log_by_id(run_id, full=True).model_dump()


def assert_read_alike(source, source_type, tmp_path, run_ids):
    own = STORES[source_type](log_folder=str(source))
    before = {run_id: as_runnable_reads(own, run_id) for run_id in run_ids}
    assert sorted(import_all(source, open_target("chunked-fs", tmp_path / "target")).imported) == sorted(run_ids)
    ours = ChunkstoreRunLogStore(log_folder=str(tmp_path / "target"))
    for run_id in run_ids:
        found = as_runnable_reads(ours, run_id)
        assert_equal(before[run_id], found)
        assert ours.get_run_config(run_id) == before[run_id]["run_config"]
        assert_equal(before[run_id]["parameters"], as_plain(ours.get_parameters(run_id)))
        for record in records_of(before[run_id]["steps"]):
            if "name" not in record:
                assert_equal(record["parameters"], as_plain(ours.get_parameters(run_id, record["internal_name"])))


def as_plain(parameters):
    return {name: parameter.model_dump() for name, parameter in parameters.items()}


def assert_equal(expected, found):
    """Compare what pydantic dumps; NaN equals itself."""
    assert repr_sorted(found) == repr_sorted(expected)


def repr_sorted(value):
    if isinstance(value, dict):
        return {key: repr_sorted(item) for key, item in value.items()}
    return [repr_sorted(item) for item in value] if isinstance(value, list) else repr(value)


@pytest.mark.parametrize("source_type", STORES)
def test_runnable_reads_an_imported_run_as_it_read_the_source(source_type, source, tmp_path):
    own = STORES[source_type](log_folder=str(source))
    record_pipeline(own)
    record_job(own)
    assert_read_alike(source, source_type, tmp_path, [PIPELINE, JOB])


def test_runnable_reads_nan_as_it_read_the_source(source, tmp_path):
    record_pipeline(STORES["file-system"](log_folder=str(source)), **NOT_FINITE)
    assert "NaN" in (source / f"{PIPELINE}.json").read_text()
    assert_read_alike(source, "file-system", tmp_path, [PIPELINE])


def test_runnable_reads_a_document_of_2024_as_it_read_the_source(golden, source, tmp_path):
    shutil.copy(golden / "blocking-shaw-0538.json", source)
    assert_read_alike(source, "file-system", tmp_path, ["blocking-shaw-0538"])


def test_runnable_reads_a_run_that_it_put_back_whole_while_it_went_on_as_it_read_the_source(source, tmp_path):
    own = STORES["chunked-fs"](log_folder=str(source))
    record_pipeline(own)
    own.put_run_log(own.get_run_log_by_id(PIPELINE, full=True))
    record = own.get_step_log("each.9.work", PIPELINE)
    record.message = "retried"
    own.add_step_log(record, PIPELINE)
    assert_read_alike(source, "chunked-fs", tmp_path, [PIPELINE])


@pytest.mark.parametrize(
    "items",
    [
        ["a.csv", "b.csv"],
        ["0.1", "0.2"],
        ["-1", "1"],
        ["two\nlines", "three\nmore\nlines"],
        ["ajson", "x"],
        ["", "\u6a21"],
    ],
    ids=lambda items: repr(items[0]),
)
def test_items_of_maps_of_runnable_may_be_called_anything(items, source, chunked, tmp_path):
    own = STORES["chunked-fs"](log_folder=str(source))
    record_pipeline(own, items=items)
    import_all(source, chunked)
    names = [f"each.{item}" for item in items]
    found = chunked.get_run_log(PIPELINE, strict=True).steps["each"].branches
    assert list(found) == names
    for name in names:
        expected = own.get_branch_log(name, PIPELINE).model_dump()
        ours = ChunkstoreRunLogStore(log_folder=str(tmp_path / "target")).get_branch_log(name, PIPELINE).model_dump()
        assert_equal(expected, ours)


def test_a_run_that_runnable_was_killed_in_is_imported_as_far_as_it_went(source, chunked):
    own = STORES["chunked-fs"](log_folder=str(source))
    record_pipeline(own)
    torn = source / PIPELINE / "BranchLog-each.9.json"
    torn.write_bytes(torn.read_bytes()[:1000])
    report = import_runs(str(source), chunked)
    assert [problem.file for problem in report.problems] == [f"{PIPELINE}/BranchLog-each.9.json"]
    assert set(chunked.get_run_log(PIPELINE).steps["each"].branches) == {"each.10", "each.b"}


def test_marked_floats_of_imported_runs_are_what_runnable_set(source, chunked):
    write_document(source, run(RUN, parameters={"a": {"kind": "json", "value": {"$float": "NaN"}}}))
    import_all(source, chunked)
    on_disk = json.loads(chunked.get_run_json(RUN))["parameters"]["a"]["value"]
    assert revive(on_disk) == {"$float": "NaN"}

"""Whatever was recorded elsewhere is brought over whole, whichever layout it has."""

import json
import math

import pytest

from chunkstore.names import encode_for_file
from maintenance.importing.targets import ids, import_all, one_of_each
from maintenance.layouts import (
    LAYOUTS,
    RUN,
    UNKNOWN,
    assert_nothing_is_lost,
    attempt,
    branch,
    rich_run,
    run,
    snapshot,
    step,
    write_document,
    write_folder_of_2024,
    write_folder_of_2025,
    write_json,
)

every_layout = pytest.mark.parametrize("write", LAYOUTS.values(), ids=list(LAYOUTS))


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

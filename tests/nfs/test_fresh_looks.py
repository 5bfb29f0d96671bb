"""What another host acknowledged is found by the next call that looks, whatever was not there before."""

import pytest

import chunkstore
from chunkstore import RunLogExistsError, RunLogNotFoundError, StepLog


def files(folder):
    return chunkstore.open_store("chunked-fs", log_folder=str(folder / "logs"), catalog_folder=str(folder / "data"))


def journal(folder):
    return chunkstore.open_store(
        "chunked-fs", log_folder=str(folder / "logs"), catalog_folder=str(folder / "data"), container="journal"
    )


def document(folder):
    return chunkstore.open_store("file-system", log_folder=str(folder / "logs"), catalog_folder=str(folder / "data"))


_stores = pytest.mark.parametrize("open_store", [files, journal, document])


def step(name):
    return StepLog(name=name, internal_name=name)


LOOKS = {
    "has_run": lambda store: store.has_run("run") or None,
    "get_run_log": lambda store: store.get_run_log("run"),
    "get_run_json": lambda store: store.get_run_json("run"),
    "list_runs": lambda store: next(store.list_runs()),
    "add_step_log": lambda store: store.add_step_log("run", step("new")) or True,
    "set_parameters": lambda store: store.set_parameters("run", {"a": 1}) or True,
    "update_run_log": lambda store: store.update_run_log("run", lambda log: None),
    "join_run": lambda store: store.join_run("run"),
    "follow": lambda store: next(store.follow("run")),
    "liveness": lambda store: store.liveness("run"),
    "count_steps": lambda store: store.count_steps("run") is not None,
    "delete_run": lambda store: store.delete_run("run") or True,
}


def found(look, store):
    try:
        return look(store) is not None
    except (RunLogNotFoundError, StopIteration):
        return False


@_stores
@pytest.mark.parametrize("name", LOOKS)
def test_a_run_that_was_asked_for_before_another_host_created_it_is_found(folders, open_store, name):
    here, there = folders
    look, reader = LOOKS[name], open_store(there)
    assert not found(look, reader)  # there is no log folder yet
    writer = open_store(here)
    writer.create_run_log("other")
    for each in (LOOKS["has_run"], look) if name != "list_runs" else ():
        assert not found(each, reader)
    writer.create_run_log("run")
    assert found(look, reader)


@_stores
def test_what_was_not_in_a_run_when_it_was_asked_for_is_found_when_another_host_has_added_it(folders, open_store):
    here, there = folders
    writer, reader = open_store(here), open_store(there)
    writer.create_run_log("run")
    for number in range(5):
        name = f"step-{number}"
        assert not reader.has_step_log("run", name)
        writer.add_step_log("run", step(name))
        assert reader.has_step_log("run", name)
        assert reader.get_step_log("run", name).name == name
        assert reader.get_parameters("run") == ({"n": number - 1} if number else {})
        writer.set_parameters("run", {"n": number})
        assert reader.get_parameters("run") == {"n": number}
        assert len(reader.get_run_log("run").steps) == number + 1
        writer.append_metrics("run", name, {"loss": [chunkstore.MetricPoint(1, 0.5)]})
        assert len(reader.get_step_log("run", name).metric_series["loss"]) == 1
        writer.append_metrics("run", name, {"loss": [chunkstore.MetricPoint(2, 0.5)]})
        assert len(reader.get_step_log("run", name).metric_series["loss"]) == 2
        assert len(reader.get_run_log("run").steps[name].metric_series["loss"]) == 2


@_stores
def test_a_run_that_another_host_deleted_is_gone_and_one_of_its_id_is_the_new_one(folders, open_store):
    here, there = folders
    writer, reader = open_store(here), open_store(there)
    for number in range(3):
        writer.create_run_log("run", tag=str(number))
        writer.add_step_log("run", step("a"))
        reader.add_step_log("run", step("b"))
        assert list(reader.get_run_log("run").steps) == ["a", "b"]
        writer.delete_run("run")
        for name in ("has_run", "get_run_log", "add_step_log", "join_run", "follow", "set_parameters"):
            assert not found(LOOKS[name], reader), name
        reader.create_run_log("run", tag="reader's")
        with pytest.raises(RunLogExistsError):
            writer.create_run_log("run")
        assert writer.get_run_log("run").tag == "reader's"
        reader.delete_run("run")
        assert not writer.has_run("run")


@_stores
def test_what_is_added_to_a_run_that_was_deleted_and_made_anew_elsewhere_is_in_the_new_one(folders, open_store):
    here, there = folders
    writer, other = open_store(here), open_store(there)
    for number in range(3):
        writer.create_run_log("run")
        other.add_step_log("run", step(f"old-{number}"))
        writer.delete_run("run")
        writer.create_run_log("run")
        other.add_step_log("run", step("new"))
        assert list(writer.get_run_log("run").steps) == ["new"]
        writer.delete_run("run")


def test_a_folder_that_cannot_be_removed_yet_takes_no_record_along(folders):
    here, there = folders
    writer, other = files(here), files(there)
    writer.create_run_log("run")
    other.add_step_log("run", step("old"))
    with open(here / "logs" / "run" / "RunLog.json", "rb"):  # NFS keeps the file, and so the folder
        writer.delete_run("run")
        assert not found(LOOKS["add_step_log"], other)
        assert not found(LOOKS["get_run_log"], other)
        writer.create_run_log("run")
        other.add_step_log("run", step("new"))
        assert list(writer.get_run_log("run").steps) == ["new"]
        assert list(other.get_run_log("run").steps) == ["new"]


@_stores
def test_what_another_host_recorded_is_followed(folders, open_store):
    here, there = folders
    writer, reader = open_store(here), open_store(there)
    run = writer.start_run("run")
    logs = reader.follow("run")
    next(logs)
    for number in range(4):
        with run.step(f"step-{number}"):
            pass
        while len(next(logs).steps) <= number:
            pass
    run.finish()
    assert [log.status for log in logs][-1] == "SUCCESS"


def test_what_a_run_holds_is_right_though_another_host_adds_to_it_after_its_end(folders):
    here, there = folders
    for open_store in (files, journal):
        writer, other = open_store(here), open_store(there)
        name = open_store.__name__
        run = writer.start_run(name)
        other.add_step_log(name, step("a"))
        run.finish()
        other.add_step_log(name, step("b"))
        for store in (writer, other):
            log = store.get_run_log(name)
            assert (sorted(log.steps), log.problems) == (["a", "b"], [])
        writer.seal(name)
        other.add_step_log(name, step("c"))
        for store in (writer, other):
            log = store.get_run_log(name)
            assert (sorted(log.steps), log.problems) == (["a", "b", "c"], [])


@_stores
def test_data_that_was_asked_for_before_another_host_put_it_is_found(folders, open_store, tmp_path):
    here, there = folders
    source = tmp_path / "data.txt"
    with open_store(here).start_run("run") as run, run.step("first") as step_here:
        joined = open_store(there).join_run("run")
        with joined.step("second") as step_there:
            for number in range(3):
                name = f"data-{number}.txt"
                with pytest.raises(chunkstore.DataNotFoundError):
                    step_there.get_data(name, tmp_path / "got")
                source.write_text(str(number))
                step_here.put_data(source, name)
                assert step_there.get_data(name, tmp_path / "got").read_text() == str(number)

"""What is lost, cut off or replaced after a run has ended is noticed; what is added or changed then is no damage."""

import json
import os
import shutil

import pytest
from processes import run_processes

import chunkstore
from chunkstore import BranchLog, MetricPoint, StepLog
from chunkstore.clock import clock
from chunkstore.errors import CorruptChunkError
from chunkstore.maintenance.checking import PROBLEM, verify
from chunkstore.names import chunk_file
from chunkstore.records.integrity import with_checksum
from chunkstore.stores.chunked import ChunkedStore

RUN = "run"
CONTAINERS = {"files": {}, "pretty": {"pretty": True}, "journal": {"container": "journal"}, "sealed": {}}


def open_store(logs, **options):
    return chunkstore.open_store("chunked-fs", log_folder=str(logs), **options)


def record(store, run_id=RUN, *, rows=1):
    with store.start_run(run_id, parameters={"seed": 7}, capture_output=False) as run:
        with run.step("load") as step:
            step.log_metric("rows", rows)
            for number in range(3):
                step.log_metric("loss", 0.5 / (number + 1), step=number)
                step.flush()
        with run.step("fit"):
            pass
        run.map("each", ["a", "b"], str, executor=_threads())
        open_store(store.backend.location).update_step_log(run.run_id, "fit", lambda log: setattr(log, "message", "!"))


def _threads():
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(2)


@pytest.fixture(params=CONTAINERS)
def store(request, tmp_path):
    found = open_store(tmp_path / "logs", **CONTAINERS[request.param])
    record(found)
    if request.param == "sealed":
        found.seal(RUN)
    return found


@pytest.fixture
def files(tmp_path):
    found = open_store(tmp_path / "logs")
    record(found)
    return found


def folder_of(store, run_id=RUN):
    return os.path.join(store.backend.location, run_id)


def is_sound(store, run_id=RUN):
    problems = store.get_run_log(run_id).problems
    found = [one for one in verify(store, run_id) if one.severity == PROBLEM]
    assert bool(problems) == bool(found), (problems, found)
    return not problems


def the_file(store, start, run_id=RUN):
    (name,) = [name for name in os.listdir(folder_of(store, run_id)) if name.startswith(start)]
    return os.path.join(folder_of(store, run_id), name)


def has_note(store):
    return "contents" in store.get_run_log(RUN, full=False).notes


# --- damage ----------------------------------------------------------------------------------------------------------


def test_what_was_recorded_is_sound_in_every_container(store):
    assert is_sound(store)
    assert has_note(store)


@pytest.mark.parametrize(
    "start", ["StepLog-load", "StepLog-fit", "BranchLog-each.a", "StepUpdate-fit", "Metric-load", "Parameter-root"]
)
def test_a_chunk_that_is_gone_is_noticed(files, start):
    os.remove(the_file(files, start))
    assert not is_sound(files)
    with pytest.raises(CorruptChunkError):
        files.get_run_log(RUN, strict=True)


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_a_file_of_metrics_that_was_cut_at_the_end_of_a_line_is_noticed(files, lines):
    path = the_file(files, "Metric-load")
    with open(path, "rb") as file:
        data = file.readlines()
    assert len(data) == 3
    with open(path, "wb") as file:
        file.writelines(data[:lines])
    assert not is_sound(files)


@pytest.mark.thorough
def test_a_journal_that_was_cut_anywhere_is_noticed(tmp_path):
    store = open_store(tmp_path / "logs", container="journal")
    record(store)
    path = max((the for the in os.scandir(folder_of(store)) if the.name.startswith("Journal-")), key=_size).path
    with open(path, "rb") as file:
        data = file.readlines()
    for kept in range(len(data)):
        with open(path, "wb") as file:
            file.writelines([*data[:kept], data[kept][:-30]] if kept % 2 else data[:kept])
        assert not is_sound(store), kept
    os.remove(path)
    assert not is_sound(store)


def _size(entry):
    return entry.stat().st_size


@pytest.mark.thorough
def test_a_sealed_file_without_some_of_its_lines_is_noticed(tmp_path):
    store = open_store(tmp_path / "logs")
    record(store)
    store.seal(RUN)
    path = the_file(store, "Sealed-")
    with open(path, "rb") as file:
        data = file.readlines()
    for left_out in range(len(data)):
        with open(path, "wb") as file:
            file.writelines(data[:left_out] + data[left_out + 1 :])
        assert is_sound(store) == (b'"RunLog.json"' in data[left_out][:30]), left_out
    os.remove(path)
    assert not is_sound(store)


def test_the_chunk_of_another_run_in_the_place_of_ours_is_noticed(files):
    record(files, "other", rows=2)
    shutil.copyfile(the_file(files, "StepLog-load", "other"), the_file(files, "StepLog-load"))
    assert not is_sound(files)
    assert is_sound(files, "other")


def test_the_chunk_of_another_run_beside_ours_is_noticed(files):
    record(files, "other", rows=2)
    shutil.copy(the_file(files, "StepLog-load", "other"), folder_of(files))
    assert not is_sound(files)


def test_the_chunks_of_two_steps_that_changed_places_are_noticed(files):
    one, other = the_file(files, "StepLog-load"), the_file(files, "StepLog-fit")
    for path, name in ((one, "fit"), (other, "load")):
        os.rename(path, os.path.join(folder_of(files), f"StepLog-{name}-{path.rpartition('-')[2]}"))
    assert not is_sound(files)


def test_the_chunk_of_an_earlier_run_of_the_same_id_is_noticed(files, tmp_path):
    earlier = shutil.copy(the_file(files, "StepLog-load"), tmp_path)
    files.delete_run(RUN)
    record(files)
    shutil.copyfile(earlier, the_file(files, "StepLog-load"))
    assert not is_sound(files)


def test_an_older_version_of_a_chunk_is_noticed(tmp_path):
    store = open_store(tmp_path / "logs")
    with store.start_run(RUN) as run, run.step("load") as step:
        older = shutil.copy(the_file(store, "StepLog-load"), tmp_path)
        step.log_metric("rows", 1)
    shutil.copyfile(older, the_file(store, "StepLog-load"))
    assert not is_sound(store)


def test_one_damaged_chunk_hides_no_other_that_is_gone(files):
    os.remove(the_file(files, "Metric-load"))
    with open(the_file(files, "StepLog-load"), "wb"):
        pass
    os.remove(the_file(files, "StepLog-fit"))
    problems = files.get_run_log(RUN).problems
    assert [problem.kind for problem in problems if problem.file.startswith("StepLog-load")] == ["corrupt"]
    assert sorted(problem.kind for problem in problems if problem.file == "RunLog.json") == ["missing", "missing"]


def test_what_was_changed_after_the_end_is_missed_too(files):
    files.update_step_log(RUN, "load", lambda log: setattr(log, "message", "looked at"))
    files.set_parameters(RUN, {"late": 1}, branch="each.a")
    assert is_sound(files)
    os.remove(the_file(files, "StepUpdate-load"))
    assert not is_sound(files)


# --- what may change after the end -----------------------------------------------------------------------------------

CHANGES = {
    "a new step": lambda store: store.add_step_log(RUN, StepLog(name="late", internal_name="late", status="SUCCESS")),
    "a step again": lambda store: store.add_step_log(RUN, StepLog(name="load", internal_name="load")),
    "a step put": lambda store: store.put_step_log(RUN, StepLog(name="load", internal_name="load")),
    "a branch": lambda store: store.add_branch_log(
        RUN, BranchLog(internal_name="each.c", status="SUCCESS", parameters={"x": 1})
    ),
    "an update": lambda store: store.update_step_log(RUN, "load", lambda log: setattr(log, "message", "seen")),
    "an update again": lambda store: store.update_step_log(RUN, "fit", lambda log: setattr(log, "message", "seen")),
    "metrics": lambda store: store.append_metrics(RUN, "load", {"loss": [MetricPoint(9, 0.1)]}),
    "parameters": lambda store: store.set_parameters(RUN, {"seed": 8}),
    "the run itself": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "tag", "good")),
    "sealing": lambda store: store.seal(RUN),
    "unsealing": lambda store: store.unseal(RUN),
    "another end": lambda store: store.join_run(RUN).finish(),
    "taking it up": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "status", "PROCESSING")),
}


@pytest.mark.parametrize("durability", ["process", "run", "step"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_a_run_that_has_ended_is_taken_for_damage(tmp_path, change, container, durability):
    options = {**CONTAINERS[container], "durability": durability}
    recorder = open_store(tmp_path / "logs", **options)
    record(recorder)
    if container == "sealed":
        recorder.seal(RUN)
    for store in (recorder, open_store(tmp_path / "logs", **options), open_store(tmp_path / "logs")):
        CHANGES[change](store)
        assert is_sound(store)
    recorder.seal(RUN) if change != "taking it up" else None
    assert is_sound(recorder)
    recorder.unseal(RUN)
    assert is_sound(recorder)
    recorder.join_run(RUN).finish()
    assert is_sound(recorder)
    assert has_note(recorder)


def test_a_run_that_was_moved_in_from_elsewhere_is_sound(files, tmp_path):
    log = files.get_run_log(RUN)
    for kind in ("chunked-fs", "file-system"):
        other = chunkstore.open_store(kind, log_folder=str(tmp_path / kind))
        other.add_run_log(log)
        assert other.get_run_log(RUN).problems == []
        assert [one for one in verify(other) if one.severity == PROBLEM] == []
        other.add_step_log(RUN, StepLog(name="late", internal_name="late", status="SUCCESS"))
        assert other.get_run_log(RUN).problems == []


@pytest.mark.parametrize("start", ["StepLog-load", "BranchLog-each.a", "Parameter-"])
@pytest.mark.parametrize("options", [{}, {"pretty": True}])
def test_what_a_run_loses_that_was_moved_in_is_noticed(files, tmp_path, options, start):
    copy = open_store(tmp_path / "copy", **options)
    copy.add_run_log(files.get_run_log(RUN))
    copy.seal(RUN)
    assert copy.get_run_log(RUN).problems == []
    copy.unseal(RUN)
    assert copy.get_run_log(RUN).problems == []
    copy.add_step_log(RUN, StepLog(name="later", internal_name="later"))
    copy.delete_run(RUN)
    copy.add_run_log(files.get_run_log(RUN))
    os.remove(the_file(copy, start))
    assert {problem.kind for problem in copy.get_run_log(RUN).problems} >= {"missing"}


def test_a_note_that_another_tool_has_left_says_nothing(files):
    for note in ("x", 3, [], {"StepLog": "many"}, {"StepLog": [1]}, {"StepLog": [1, 2.5]}, None):
        path = os.path.join(folder_of(files), "RunLog.json")
        with open(path, "rb") as file:
            log = json.loads(file.read())
        log["run_config"]["chunkstore"]["contents"] = note
        with open(path, "wb") as file:
            file.write(json.dumps(log).encode())
        assert is_sound(files)
    files.update_step_log(RUN, "load", lambda log: setattr(log, "message", "seen"))
    assert is_sound(files)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_a_worker_adds_while_the_run_is_summed_up_is_in_the_sums_or_takes_them_back(tmp_path, method):
    logs = tmp_path / "logs"
    for number in range(4 if method == "fork" else 1):
        open_store(logs).create_run_log(f"run-{number}")
        run_processes(_join_and_finish, [(str(logs), f"run-{number}", each) for each in range(3)], method)
        assert is_sound(open_store(logs), f"run-{number}")


def _join_and_finish(logs, run_id, number):
    run = open_store(logs, container="journal" if number == 1 else "files").join_run(run_id, capture_output=False)
    with run:
        for step in range(8):
            with run.step(f"{number}-{step}") as recorded:
                recorded.log_metric("loss", 0.5, step=step)
            run.set_parameters({f"p{number}": step})
            if step % 3 == number:
                run.finish()


def test_who_writes_just_when_the_run_is_summed_up_takes_the_sums_back(tmp_path, monkeypatch):
    logs = tmp_path / "logs"
    other = open_store(logs)
    store = open_store(logs)
    run = store.start_run(RUN, capture_output=False)
    with run.step("load"):
        pass
    other.add_step_log(RUN, StepLog(name="before", internal_name="before", status="SUCCESS"))
    sum_up = ChunkedStore._sum_up

    def sum_up_and_lose(self, run_id, **options):
        found = sum_up(self, run_id, **options)
        other.add_step_log(RUN, StepLog(name="late", internal_name="late", status="SUCCESS"))
        return found

    monkeypatch.setattr(ChunkedStore, "_sum_up", sum_up_and_lose)
    run.finish()
    assert not has_note(store)
    assert is_sound(store)


def test_what_is_noted_is_taken_back_before_anything_is_added(files, monkeypatch):
    other = open_store(files.backend.location)
    other.join_run(RUN)
    other.get_parameters(RUN)
    other.set_parameters(RUN, {"seen": 1})  # now it knows the run, and that it has ended
    publish = other.backend.publish

    def look_and_publish(*arguments, **options):
        assert not has_note(files)
        publish(*arguments, **options)

    monkeypatch.setattr(other.backend, "publish", look_and_publish)
    other.add_step_log(RUN, StepLog(name="late", internal_name="late", status="SUCCESS"))
    assert is_sound(files)


def test_a_reader_that_meets_a_change_of_a_run_that_has_ended_reports_nothing(files, monkeypatch):
    from chunkstore.stores.reading import RunFiles

    lost = RunFiles.lost

    def change_and_compare(self, *arguments):
        monkeypatch.undo()
        open_store(files.backend.location).add_step_log(RUN, StepLog(name="late", internal_name="late"))
        self.sums[next(iter(self.sums))] = 0  # as if it had been read before
        return lost(self, *arguments)

    monkeypatch.setattr(RunFiles, "lost", change_and_compare)
    assert files.get_run_log(RUN).problems == []


def test_a_live_run_is_not_summed_up(tmp_path):
    store = open_store(tmp_path / "logs")
    run = store.start_run(RUN, capture_output=False)
    with run.step("load"):
        pass
    name = chunk_file("StepLog", "load", clock.tick())
    body = StepLog(name="load", internal_name="load", status="SUCCESS").to_json(indent=None).encode()
    with open(os.path.join(folder_of(store), name), "wb") as file:
        file.write(with_checksum(body))
    assert store.get_run_log(RUN).problems == []
    run.finish()
    assert is_sound(store)


@pytest.mark.parametrize("start", ["StepLog-load", "BranchLog-each.a", "StepUpdate-fit", "Metric-load", "Parameter-"])
def test_who_looks_for_problems_finds_what_a_reader_of_the_run_does(files, start):
    assert files.find_problems(RUN) == []
    os.remove(the_file(files, start))
    kinds = {problem.kind for problem in files.find_problems(RUN)}
    assert kinds == {problem.kind for problem in files.get_run_log(RUN).problems} - {"orphan"} != set()

"""Files that other tools wrote, that were copied about, or that are damaged, beside our own."""

import json
import math
import time

import pytest
from recorded import step

import chunkstore
from chunkstore import BranchLog, CorruptChunkError, MetricPoint, RunLog
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.names import END_OF_TIME, chunk_file
from chunkstore.stores.chunked import ChunkedStore

RUN = "run"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "logs" / RUN


@pytest.fixture
def store(folder):
    store = chunkstore.open_store("chunked-fs", log_folder=folder.parent)
    store.create_run_log(RUN, parameters={"a": 1})
    return store


def newest_chunk(folder, name):
    return max(folder.glob(f"StepLog-{name}-*.json"))


def test_an_older_record_does_not_pass_for_a_newest_one_that_is_damaged(store, folder):
    store.add_step_log(RUN, step("s", message="older"))
    chunkstore.open_store("chunked-fs", log_folder=folder.parent).add_step_log(RUN, step("s", message="newer"))
    newest_chunk(folder, "s").write_bytes(b'{"name": "s", "inter')
    with pytest.raises(CorruptChunkError):
        store.get_step_log(RUN, "s")
    with pytest.raises(CorruptChunkError):
        store.update_step_log(RUN, "s", lambda found: setattr(found, "status", "SUCCESS"))
    log = store.get_run_log(RUN)
    assert log.steps["s"].message == "older"
    assert [problem.kind for problem in log.problems] == ["corrupt"]


def test_a_step_whose_only_record_is_damaged_is_damaged_and_not_missing(store, folder):
    store.add_step_log(RUN, step("s"))
    newest_chunk(folder, "s").write_bytes(b"")
    with pytest.raises(CorruptChunkError, match="empty"):
        store.get_step_log(RUN, "s")


def test_a_copy_of_a_parameter_file_does_not_count(store, folder):
    (folder / "Parameter-root copy.json").write_text(json.dumps({"branch": "", "parameters": {"a": "stale"}}))
    log = store.get_run_log(RUN)
    assert log.parameters == store.get_parameters(RUN) == {"a": 1}
    assert [problem.file for problem in log.problems] == ["Parameter-root copy.json"]


def test_timestamps_beyond_the_end_of_time_are_no_chunks(store, folder):
    (folder / chunk_file("StepLog", "s", END_OF_TIME)).write_text(step("s", message="never").to_json())
    store.add_step_log(RUN, step("s", message="now"))
    assert store.get_run_log(RUN).steps["s"].message == "now"


def test_a_chunk_from_a_host_whose_clock_is_ahead_orders_what_comes_after_it(store, folder):
    ahead = time.time_ns() + 3_600_000_000_000
    (folder / chunk_file("StepLog", "s", ahead)).write_text(step("s", message="first").to_json())
    store.get_run_log(RUN)
    store.add_step_log(RUN, step("s", message="second"))
    store.add_step_log(RUN, step("t"))
    log = store.get_run_log(RUN)
    assert log.steps["s"].message == "second"
    assert list(log.steps) == ["s", "t"]


def test_steps_in_the_runs_own_record_and_inside_branches_are_shown(store, folder):
    inner = BranchLog(
        internal_name="m.b", steps={"m.b.x": step("m.b.x")}, parameters={"p": 1}
    )  # runnable 0.50 writes whole branches into one file
    log = RunLog.from_json((folder / "RunLog.json").read_bytes())
    log.steps = {"first": step("first"), "s": step("s", message="in the run's record")}
    (folder / "RunLog.json").write_text(log.to_json())
    store.add_step_log(RUN, step("s", message="in a chunk of its own"))
    store.add_step_log(RUN, step("m", step_type="map"))
    (folder / chunk_file("BranchLog", "m.b", time.time_ns())).write_text(inner.to_json())
    shown = store.get_run_log(RUN)
    assert list(shown.steps) == ["first", "s", "m"]
    assert shown.steps["s"].message == "in a chunk of its own"
    assert list(shown.steps["m"].branches["m.b"].steps) == ["m.b.x"]
    assert shown.steps["m"].branches["m.b"].parameters == {"p": 1}
    assert shown.problems == []
    assert json.loads(store.get_run_json(RUN)) == json.loads(shown.to_json())


def test_the_json_of_a_run_holds_no_bytes_of_what_counts_no_more(store, folder):
    store.add_step_log(RUN, step("m", step_type="map"))
    for number in range(200):  # each newer record of a branch frees the place of an older one in memory
        inner = BranchLog(internal_name="m.b", steps={"m.b.x": step("m.b.x", message=str(number))})
        (folder / chunk_file("BranchLog", "m.b", time.time_ns())).write_text(inner.to_json())
        (folder / chunk_file("StepLog", "s", time.time_ns())).write_text(step("s", message=str(number)).to_json())
    assert json.loads(store.get_run_json(RUN)) == json.loads(store.get_run_log(RUN).to_json())


def test_changing_the_runs_own_record_keeps_steps_that_stand_in_it(store, folder):
    log = RunLog.from_json((folder / "RunLog.json").read_bytes())
    log.steps, log.parameters = {"first": step("first")}, {"old": 1}
    (folder / "RunLog.json").write_text(log.to_json())
    store.update_run_log(RUN, lambda found: setattr(found, "status", "SUCCESS"))
    assert list(store.get_run_log(RUN).steps) == ["first"]


def test_files_named_after_the_last_segment_alone_are_found(store, folder):
    (folder / chunk_file("StepLog", "x", time.time_ns())).write_text(step("m.b.x", message="found").to_json())
    assert store.get_step_log(RUN, "m.b.x").message == "found"


def test_files_named_after_the_last_segment_alone_are_told_apart_by_what_is_in_them(store, folder):
    now = time.time_ns()
    for number, name in enumerate(["m.b.x", "n.c.x", "x"]):
        (folder / chunk_file("StepLog", "x", now + number)).write_text(step(name, message=name).to_json())
    for name in ("m.b.x", "n.c.x", "x"):
        assert store.get_step_log(RUN, name).message == name


class Listed(Syscalls):
    """Lists every folder in a certain order."""

    def __init__(self, order):
        self._order = order

    def list(self, fd):
        return [name for name, _ in self.scan(fd)]

    def scan(self, fd):
        return self._order(super().scan(fd))


@pytest.mark.parametrize("order", [sorted, lambda names: sorted(names, reverse=True)], ids=["forwards", "backwards"])
def test_equal_timestamps_are_ordered_by_name(store, folder, order):
    now = time.time_ns()
    for name in "bdac":
        (folder / chunk_file("StepLog", name, now)).write_text(step(name).to_json())
    reader = ChunkedStore(DirectoryBackend(folder.parent, syscalls=Listed(order)))
    assert list(reader.get_run_log(RUN).steps) == ["a", "b", "c", "d"]


class WhenOpened(Syscalls):
    """Does something just before a file is opened for the first time."""

    def __init__(self, file, deed):
        self._file, self._deed = file, deed

    def open(self, path, flags, dir_fd=None):
        if path == self._file and self._deed is not None:
            deed, self._deed = self._deed, None
            deed()
        return super().open(path, flags, dir_fd)


def test_a_run_that_says_that_it_has_finished_shows_all_that_came_before(store, folder):
    def finish():
        store.add_step_log(RUN, step("last"))
        store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))

    reader = ChunkedStore(DirectoryBackend(folder.parent, syscalls=WhenOpened("RunLog.json", finish)))
    log = reader.get_run_log(RUN)
    assert (log.status, list(log.steps)) == ("SUCCESS", ["last"])


@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system", "buffered"])
class TestAlike:
    """What the stores did differently once."""

    @pytest.fixture
    def run(self, store_type, tmp_path):
        options = {} if store_type == "buffered" else {"log_folder": tmp_path / "alike"}
        store = chunkstore.open_store(store_type, **options)
        store.create_run_log(RUN)
        return store

    def test_points_that_come_before_their_step_are_kept(self, run):
        run.append_metrics(RUN, "s", {"m": [MetricPoint(1, 1)]})
        assert [problem.kind for problem in run.get_run_log(RUN).problems] == ["orphan"]
        run.add_step_log(RUN, step("s"))
        assert run.get_run_log(RUN).steps["s"].metric_series == {"m": [MetricPoint(1, 1)]}
        assert run.get_run_log(RUN).problems == []

    def test_names_that_begin_alike_are_told_apart(self, run):
        for name in ("simple-two", "simple-1", "simple.x"):
            run.add_step_log(RUN, step(name))
        assert not run.has_step_log(RUN, "simple")
        with pytest.raises(chunkstore.StepLogNotFoundError):
            run.get_step_log(RUN, "simple")
        run.put_step_log(RUN, step("simple"))
        assert run.has_step_log(RUN, "simple")
        assert set(run.get_run_log(RUN).steps) >= {"simple", "simple-two", "simple-1"}
        run.put_step_log(RUN, step("simple", message="again"))
        assert run.get_step_log(RUN, "simple").message == "again"
        assert run.get_step_log(RUN, "simple-two").message == ""

    def test_points_of_a_record_are_not_shown_with_a_newer_one_of_that_name(self, run):
        run.add_step_log(RUN, step("s", message="older"))
        run.append_metrics(RUN, "s", {"m": [MetricPoint(1, 1)]})
        other = type(run)(run.backend, run.options)
        other.add_step_log(RUN, step("s", message="newer"))
        other.append_metrics(RUN, "s", {"n": [MetricPoint(2, 2)]})
        run.append_metrics(RUN, "s", {"m": [MetricPoint(3, 3)]})
        for shown in (run.get_run_log(RUN).steps["s"], run.get_step_log(RUN, "s")):
            assert (shown.message, shown.metric_series) == ("newer", {"n": [MetricPoint(2, 2)]})

    def test_equal_points_that_were_logged_twice_are_two(self, run):
        run.add_step_log(RUN, step("s"))
        for _ in range(2):
            run.append_metrics(RUN, "s", {"m": [MetricPoint(1, 1)]})
        assert len(run.get_run_log(RUN).steps["s"].metric_series["m"]) == 2

    def test_a_change_of_the_series_keeps_points_that_were_appended(self, run):
        run.add_step_log(RUN, step("s"))
        run.append_metrics(RUN, "s", {"m": [MetricPoint(1, 1)]})
        run.update_step_log(RUN, "s", lambda found: setattr(found, "metric_series", {"n": [MetricPoint(5, 5)]}))
        series = run.get_run_log(RUN).steps["s"].metric_series
        assert series == {"m": [MetricPoint(1, 1)], "n": [MetricPoint(5, 5)]}

    def test_a_step_that_is_read_and_written_again_keeps_its_points_once(self, run):
        run.add_step_log(RUN, step("s"))
        run.append_metrics(RUN, "s", {"m": [MetricPoint(1, math.inf, "t")]})
        run.add_step_log(RUN, run.get_run_log(RUN).steps["s"])
        assert run.get_run_log(RUN).steps["s"].metric_series == {"m": [MetricPoint(1, math.inf, "t")]}

    def test_keys_that_are_numbers_become_text_every_time(self, run):
        for _ in range(2):
            run.set_parameters(RUN, {1: "a"})
        assert run.get_parameters(RUN) == {"1": "a"}

    def test_marked_floats_are_replaced_whole(self, run):
        run.add_step_log(RUN, step("s", user_defined_metrics={"x": math.nan, "y": 1}))
        run.update_step_log(RUN, "s", lambda found: found.user_defined_metrics.update(x=math.inf))
        run.add_step_log(RUN, step("s", user_defined_metrics={"x": {"a": 1}, "y": 2}))
        assert run.get_step_log(RUN, "s").user_defined_metrics == {"x": math.inf, "y": 2}

    @pytest.mark.parametrize("error", [FileNotFoundError("x"), FileExistsError("x"), KeyError("x"), OSError(28, "x")])
    def test_what_a_change_raises_reaches_the_caller_and_nothing_is_changed(self, run, error):
        run.add_step_log(RUN, step("s"))

        def fail(found):
            found.status = "SUCCESS"
            raise error

        with pytest.raises(type(error)) as raised:
            run.update_step_log(RUN, "s", fail)
        assert raised.value is error
        with pytest.raises(type(error)) as raised:
            run.update_run_log(RUN, fail)
        assert raised.value is error
        assert run.get_step_log(RUN, "s").status == "FAIL"

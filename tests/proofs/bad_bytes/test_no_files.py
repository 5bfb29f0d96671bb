"""What is no file, where a file should be, hangs nobody, hides nothing and takes no record in."""

import os
import shutil
import stat

import pytest
from outcomes import error_of, temporary_files
from privileges import skip_or_fail
from recorded import step
from restricted import within_limits

from chunkstore import ChunkstoreError, CorruptChunkError, MetricPoint
from chunkstore.errors import RunLogExistsError
from chunkstore.testing.suite_runs import CALLS_ON_A_RUN
from proofs.bad_bytes.whole_runs import (
    PLACES,
    RUN,
    check_the_rest,
    contents,
    file_of,
    make_run,
    open_chunked,
    open_documents,
    read,
)


def make_device(major, minor):
    def make(path, _):
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        except PermissionError:
            skip_or_fail("device nodes cannot be made here")

    return make


def make_folder(path, _):
    path.mkdir()
    (path / "inside").write_text("{}")


#: What can have the name of a file; `elsewhere` is a file with a good record of that name.
PLANTS = {
    "pipe": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: os.mknod(path, 0o666 | stat.S_IFSOCK),
    "device that takes all": make_device(1, 3),
    "device without end": make_device(1, 5),
    "device that waits": make_device(5, 1),
    "link": lambda path, elsewhere: path.symlink_to(elsewhere),
    "link to itself": lambda path, _: path.symlink_to(path.name),
    "link to nothing": lambda path, elsewhere: path.symlink_to(elsewhere.parent / "nothing"),
    "link to a device": lambda path, _: path.symlink_to("/dev/zero"),
    "folder": make_folder,
    "empty folder": lambda path, _: path.mkdir(),
}
_planted = pytest.mark.parametrize("plant", PLANTS.values(), ids=list(PLANTS))


def write_everything(store, owner):
    """Make each kind of write; return those that were acknowledged."""
    done = []
    for name, call in {
        "add": lambda: store.add_step_log(RUN, step("new")),
        "replace": lambda: owner.add_step_log(RUN, step("own", message="again")),
        "update": lambda: store.update_step_log(RUN, "good", lambda found: setattr(found, "message", "new")),
        "parameters": lambda: store.set_parameters(RUN, {"new": 1}),
        "update run": lambda: store.update_run_log(RUN, lambda log: setattr(log, "tag", "new")),
        "append": lambda: owner.append_metrics(RUN, "own", {"m": [MetricPoint(2, 2)]}),
    }.items():
        error = error_of(call)
        assert len(str(error)) < 1_000, name
        if error is None:
            done.append(name)
    return done


def check_writes(log, done):
    """Check that what was acknowledged is there."""
    found = contents(log)
    own = found["step", "own"]
    assert ("add" in done) == (("step", "new") in found)
    assert ("replace" in done) == (own.message == "again")
    assert ("update" in done) == (found["step", "good"].message == "new")
    assert ("parameters" in done) == ("new" in found.get(("parameters", ""), {}))
    assert ("update run" in done) == (log.tag == "new")
    points = dict(own.metric_series or {}).get("m", [])
    assert points == [MetricPoint(1, 1), MetricPoint(2, 2)][: 1 + ("append" in done)]


def plant_in_a_run(top, plant, name):
    """Put something that is no file into a new run, and read and write that."""
    folder = make_run(top / "logs")
    elsewhere = top / "elsewhere"
    elsewhere.mkdir()
    owner = open_chunked(folder.parent)
    owner.add_step_log(RUN, step("own"))
    owner.append_metrics(RUN, "own", {"m": [MetricPoint(1, 1)]})
    whole = contents(read(folder))
    target, path = elsewhere / "target", folder / name
    source = file_of(folder, "StepLog-good-") if "evil" in name else path
    target.write_bytes(source.read_bytes() if source.exists() else b"")
    path.unlink(missing_ok=True)
    plant(path, target)
    store = open_chunked(folder.parent)
    log = store.get_run_log(RUN)
    held, looked_at = PLACES[name]
    check_the_rest(log, whole, held)
    assert {(problem.kind, problem.file) for problem in log.problems} == (
        {("unreadable", name)} if looked_at else set()
    )
    if looked_at:
        with pytest.raises(CorruptChunkError, match=name):
            store.get_run_log(RUN, strict=True)
    assert store.get_step_log(RUN, "good") == whole["step", "good"]
    assert [bool(summary.problem) for summary in store.list_runs()] == [name == "RunLog.json"]
    before = target.read_bytes()
    done = write_everything(store, owner)
    check_writes(store.get_run_log(RUN), done)
    assert os.listdir(elsewhere) == ["target"]
    assert target.read_bytes() == before
    assert temporary_files(folder) <= {name}
    try:
        store.delete_run(RUN)
    except ChunkstoreError:
        assert name == ".lock"
    else:
        assert list(store.list_runs()) == []


@_planted
def test_what_is_no_file_hangs_nobody_and_hides_nothing(memory, plant):
    plant(memory / "probe", memory / "target")
    for number, name in enumerate(PLACES):
        top = memory / str(number)
        top.mkdir()
        assert within_limits(lambda top=top, name=name: plant_in_a_run(top, plant, name)), name


@_planted
@pytest.mark.parametrize("start", ["StepLog-own-", "Metric-own-"])
def test_what_took_the_place_of_an_owners_file_takes_no_record_in(memory, plant, start):
    plant(memory / "probe", memory / "target")

    def work():
        owner = open_chunked(memory / "logs")
        owner.create_run_log(RUN)
        owner.add_step_log(RUN, step("good"))
        owner.add_step_log(RUN, step("own"))
        owner.append_metrics(RUN, "own", {"m": [MetricPoint(1, 1)]})
        path = file_of(memory / "logs" / RUN, start)
        os.rename(path, memory / "aside")
        plant(path, memory / "aside")
        kept = (memory / "aside").read_bytes()
        if start == "StepLog-own-":
            error = error_of(owner.add_step_log, RUN, step("own", message="again"))
        else:
            error = error_of(owner.append_metrics, RUN, "own", {"m": [MetricPoint(2, 2)]})
        if error is not None:
            assert str(memory / "logs") in str(error)
        elif start == "StepLog-own-":
            assert read(memory / "logs" / RUN).steps["own"].message == "again"
        else:
            assert read(memory / "logs" / RUN).steps["own"].metric_series == {"m": [MetricPoint(2, 2)]}
        assert (memory / "aside").read_bytes() == kept
        assert temporary_files(memory) == set()

    assert within_limits(work)


def test_points_do_not_go_into_a_pipe_that_took_the_place_of_a_file_of_metrics(memory):
    def work():
        owner = open_chunked(memory)
        owner.create_run_log(RUN)
        owner.add_step_log(RUN, step("own"))
        owner.append_metrics(RUN, "own", {"m": [MetricPoint(1, 1)]})
        path = file_of(memory / RUN, "Metric-own-")
        path.unlink()
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        error = error_of(owner.append_metrics, RUN, "own", {"m": [MetricPoint(2, 2)]})
        try:
            stolen = os.read(reader, 1)
        except BlockingIOError:
            stolen = b""
        assert stolen == b""
        points = dict(read(memory / RUN).steps["own"].metric_series or {})
        assert error is not None or points == {"m": [MetricPoint(2, 2)]}

    assert within_limits(work)


@_planted
def test_what_is_no_folder_in_the_place_of_a_run_is_no_run(memory, plant):
    plant(memory / "probe", memory / "target")

    def work():
        store = open_chunked(memory / "logs")
        store.create_run_log("good")
        elsewhere = make_run(memory / "elsewhere")
        before = sorted(os.listdir(elsewhere))
        plant(memory / "logs" / RUN, elsewhere)
        for name, call in CALLS_ON_A_RUN.items():
            assert error_of(call, store, RUN) is not None or name == "sync", name
        assert [(summary.run_id, summary.problem) for summary in store.list_runs()] == [("good", "")]
        try:
            store.create_run_log(RUN)
        except ChunkstoreError:
            assert [summary.run_id for summary in store.list_runs()] == ["good"]
        else:  # a folder that is there becomes a run
            assert store.get_run_log(RUN).problems == []
        assert temporary_files(memory) == set()
        assert sorted(os.listdir(elsewhere)) == before

    assert within_limits(work)


@_planted
def test_what_is_no_file_in_the_place_of_a_document_or_its_lock_hangs_nobody(memory, plant):
    plant(memory / "probe", memory / "target")

    def work(name):
        store = open_documents(memory / name)
        store.create_run_log("good")
        store.create_run_log(RUN, tag="kept")
        elsewhere = memory / name / ".elsewhere"
        os.rename(memory / name / f"{RUN}.json", elsewhere)
        if name == ".run.lock":
            shutil.copy(elsewhere, memory / name / f"{RUN}.json")
        plant(memory / name / name, elsewhere)
        kept = elsewhere.read_bytes()
        found = {summary.run_id: bool(summary.problem) for summary in store.list_runs()}
        assert found == {"good": False, RUN: name == "run.json"}
        assert store.get_run_log("good").problems == []
        store.set_parameters("good", {"a": 1})
        if name == "run.json":
            with pytest.raises(RunLogExistsError):
                store.create_run_log(RUN)
        else:
            assert store.get_run_log(RUN).tag == "kept"
        try:
            store.set_parameters(RUN, {"a": 1})
        except ChunkstoreError:
            pass
        else:
            assert store.get_run_log(RUN).parameters == {"a": 1}
        assert elsewhere.read_bytes() == kept
        assert temporary_files(memory) == set()

    for name in ("run.json", ".run.lock"):
        assert within_limits(lambda name=name: work(name)), name

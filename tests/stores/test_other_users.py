"""Users who may only read read everything; users of one group record one run."""

import errno
import os
import shutil
import subprocess
import time

import pytest
from every import every_store
from outcomes import temporary_files
from privileges import skip_or_fail
from recorded import count, step
from restricted import NOBODY, as_user
from run_of_two import OPERATIONS, RUN, open_at, prepare

import chunkstore
from chunkstore import ChunkstoreError, MetricPoint
from chunkstore.errors import RunLogExistsError, StoreAccessError
from chunkstore.testing.suite_sharing import run_threads

NEIGHBOUR, GROUP = 65533, 60_000


def make_readable_run(folder, store_type):
    store = prepare(folder / "logs", store_type)
    store.add_branch_log(RUN, chunkstore.BranchLog(internal_name="own.b", parameters={"p": 1}))
    open_at(folder / "logs", store_type).update_step_log(RUN, "own", count)
    (folder / "data.csv").write_text("x,y\n")
    run = store.join_run(RUN, capture_output=False)
    run.catalog.put(folder / "data.csv", "data.csv", "")


def tree_of(folder):
    """Return the names below a folder with what tells that they were changed."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.stat(os.path.join(path, name))
            found[os.path.join(path, name)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def read_everything(logs, store_type):
    store = open_at(logs, store_type)
    log = store.get_run_log(RUN, strict=True)
    assert sorted(log.steps) == ["foreign", "own"]
    assert (log.parameters, log.problems) == ({"a": 1}, [])
    assert log.steps["own"].branches["own.b"].parameters == {"p": 1}
    assert store.get_run_log(RUN, full=False).run_id == RUN
    assert b'"foreign"' in store.get_run_json(RUN)
    assert store.get_step_log(RUN, "own").user_defined_metrics == {"count": 1}
    assert store.get_branch_log(RUN, "own.b").internal_name == "own.b"
    assert store.get_parameters(RUN) == {"a": 1}
    assert store.get_parameters(RUN, "own.b") == {"p": 1}
    assert (store.has_run(RUN), store.has_run("none")) == (True, False)
    assert (store.has_step_log(RUN, "own"), store.has_step_log(RUN, "none")) == (True, False)
    assert (store.has_branch_log(RUN, "own.b"), store.has_branch_log(RUN, "none")) == (True, False)
    assert [(summary.run_id, summary.problem) for summary in store.list_runs()] == [(RUN, "")]


def write_nothing(logs, store_type):
    source = logs.parent / "data.csv"
    for name, call in {
        **{name: call for name, call in OPERATIONS.items() if name in WRITES},
        "record": lambda store: store.start_run("recorded"),
        "join": lambda store: store.join_run("joined", create=True),
        "step": lambda store: store.join_run(RUN).step("new").__enter__(),
        "finish": lambda store: store.join_run(RUN).finish("SUCCESS"),
        "add run": lambda store: store.add_run_log(chunkstore.RunLog(run_id="added")),
        "put data": lambda store: store.join_run(RUN).catalog.put(source, "new.csv", ""),
    }.items():
        with pytest.raises(StoreAccessError) as caught:
            call(open_at(logs, store_type))
        assert caught.value.errno in (errno.EACCES, errno.EPERM, errno.EROFS), name
        assert str(logs.parent) in str(caught.value), name


WRITES = {"add", "put", "update", "update own", "update run", "set parameters", "append", "create", "delete"}


@every_store
def test_who_may_only_read_reads_everything_and_every_write_is_refused(memory, store_type):
    make_readable_run(memory, store_type)
    before = tree_of(memory)

    def work():
        read_everything(memory / "logs", store_type)
        write_nothing(memory / "logs", store_type)

    assert as_user(work)
    assert tree_of(memory) == before


def test_data_of_which_a_part_may_not_be_read_is_an_error_and_not_left_out(memory):
    closed = memory / "data" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    (memory / "data" / "open").write_text("x")
    closed.chmod(0)
    for name in ("logs", ".catalog"):
        (memory / name).mkdir()
        (memory / name).chmod(0o777)

    def work():
        run = open_at(memory / "logs").start_run(RUN)
        with run.step("s") as current, pytest.raises((OSError, ChunkstoreError), match="closed"):
            current.put_data(memory / "data", "data")

    assert as_user(work)
    closed.chmod(0o755)


@pytest.fixture
def read_only(tmp_path):
    """Return a function that mounts a folder once more, to read only."""
    mounted = []

    def mount(folder):
        target = tmp_path / f"mounted-{len(mounted)}"
        target.mkdir()
        for command in (["--bind", str(folder), str(target)], ["-o", "remount,bind,ro", str(target)]):
            if not shutil.which("mount") or subprocess.run(["mount", *command], check=False).returncode:
                skip_or_fail("nothing can be mounted here")
            if target not in mounted:
                mounted.append(target)
        return target

    yield mount
    for target in mounted:
        subprocess.run(["umount", "-l", str(target)], check=True)


@every_store
def test_a_file_system_to_read_only_is_read_and_every_write_is_refused(tmp_path, read_only, store_type):
    (tmp_path / "top").mkdir()
    make_readable_run(tmp_path / "top", store_type)
    top = read_only(tmp_path / "top")
    before = tree_of(top)
    read_everything(top / "logs", store_type)
    write_nothing(top / "logs", store_type)
    assert tree_of(top) == before


@pytest.fixture
def group_folder(memory):
    """A folder that belongs to a group, in which new folders belong to it too."""
    if os.geteuid() != 0:
        skip_or_fail("only root can give a folder to a group")
    os.chown(memory, 0, GROUP)
    os.chmod(memory, 0o2775)
    return memory


def write_for_the_group(logs, store_type, own, others):
    """Record, and change what the other member has recorded."""
    store = open_at(logs, store_type)
    try:
        store.create_run_log(RUN, parameters={"created by": own})
    except RunLogExistsError:
        pass
    store.add_step_log(RUN, step(own, status="PROCESSING"))
    store.add_step_log(RUN, step(own, status="SUCCESS"))
    for name in filter(None, (own, *others)):
        store.update_step_log(RUN, name, count)
    store.set_parameters(RUN, {own: 1})
    store.append_metrics(RUN, own, {"m": [MetricPoint(1, 1)]})
    store.update_run_log(RUN, lambda log: log.run_config.update({own: 1}))
    run = store.join_run(RUN)
    with run.step(f"recorded by {own}") as current:
        print(own)
        current.put_data(logs / ".." / "data.csv", f"{own}.csv")
        current.put_data(logs / ".." / "data.csv", "common.csv")


@every_store
def test_two_members_of_a_group_record_one_run_and_change_each_others_records(group_folder, store_type):
    logs = group_folder / "logs"
    (group_folder / "data.csv").write_text("x,y\n")
    turns = [("a", NOBODY, []), ("b", NEIGHBOUR, ["a"]), ("c", NOBODY, ["a", "b"]), ("d", NEIGHBOUR, ["a", "b", "c"])]
    for own, uid, others in turns:
        assert as_user(
            lambda own=own, others=others: write_for_the_group(logs, store_type, own, others),
            uid=uid,
            gid=GROUP,
            umask=0o002,
        ), own
    log = open_at(logs, store_type).get_run_log(RUN, strict=True)
    assert [name for name in log.steps if len(name) == 1] == ["a", "b", "c", "d"]
    for number, name in enumerate("abcd"):
        assert log.steps[name].status == "SUCCESS"
        assert log.steps[name].user_defined_metrics == {"count": 4 - number}
        assert log.steps[name].metric_series == {"m": [MetricPoint(1, 1)]}
        assert log.steps[f"recorded by {name}"].status == "SUCCESS"
    assert log.parameters == {"created by": "a", "a": 1, "b": 1, "c": 1, "d": 1}
    assert {"a", "b", "c", "d"} < set(log.run_config)


@every_store
def test_two_members_of_a_group_that_write_at_once_lose_nothing(group_folder, store_type):
    logs, turns = group_folder / "logs", 25
    for path in (logs, group_folder / "go"):
        path.mkdir()
        os.chown(path, 0, GROUP)
        os.chmod(path, 0o2775)

    def write(name):
        (group_folder / "go" / name).touch()
        while len(os.listdir(group_folder / "go")) < 2:
            time.sleep(0.001)
        store = open_at(logs, store_type)
        try:
            store.create_run_log(RUN)
        except RunLogExistsError:
            pass
        for turn in range(turns):
            store.add_step_log(RUN, step(f"{name}-{turn}"))
            store.set_parameters(RUN, {f"{name}-{turn}": turn})
            store.update_run_log(RUN, lambda log: log.run_config.update(count=log.run_config.get("count", 0) + 1))

    results = run_threads(
        lambda name=name, uid=uid: as_user(lambda: write(name), uid=uid, gid=GROUP, umask=0o002)
        for name, uid in (("one", NOBODY), ("two", NEIGHBOUR))
    )
    assert results == [True, True]
    log = open_at(logs, store_type).get_run_log(RUN, strict=True)
    names = {f"{name}-{turn}" for name in ("one", "two") for turn in range(turns)}
    assert set(log.steps) == set(log.parameters) == names
    assert log.run_config["count"] == 2 * turns
    assert temporary_files(group_folder) == set()

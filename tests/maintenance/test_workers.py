"""The workers of an engine are asked whether they can record where their driver does; what keeps them is found."""

import os
import signal
import subprocess
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from elsewhere import Elsewhere
from privileges import skip_or_fail

import chunkstore
from chunkstore import StoreUsageError, check_engine
from chunkstore.backends.disk import locks
from chunkstore.maintenance.workers import worker

YEAR = 365 * 86_400


@pytest.fixture
def store(tmp_path):
    return chunkstore.open_store("chunked-fs", log_folder=tmp_path / "log-1", catalog_folder=tmp_path / "data")


def results(report):
    return [{check.name: check.result for check in one.checks} for one in report.workers]


def details(report, name):
    return [check.detail for one in report.workers for check in one.checks if check.name == name]


GOOD = dict.fromkeys(("folder", "locks", "data", "chunkstore", "python", "clock"), "good")


# --- where all is well -----------------------------------------------------------------------------------------------


def test_workers_that_share_all_with_their_driver_can_record(tmp_path, store):
    with ProcessPoolExecutor(2) as executor:
        report = check_engine(store, executor)
        assert report.holds
        assert report.findings == []
        assert results(report) == [GOOD, GOOD]
        assert {one.pid for one in report.workers} == set(executor._processes)
    assert report.driver == f"process {os.getpid()} on {os.uname().nodename}"
    assert report.folder == str(tmp_path / "log-1")
    for one in report.workers:
        assert one.clock_low <= 0 <= one.clock_high
        assert one.clock_high - one.clock_low < 5
    assert os.listdir(tmp_path) == []  # nothing is left, and nothing made that was not there


def test_threads_are_one_worker(store):
    with ThreadPoolExecutor(3) as executor:
        report = check_engine(store, executor)
    assert [one.pid for one in report.workers] == [os.getpid()]
    assert report.holds


@pytest.mark.parametrize("command", [["env"], ["env", "python"]], ids=["this Python", "a Python of its own"])
def test_a_command_that_starts_workers_will_do(tmp_path, store, command, monkeypatch):
    (tmp_path / "log-1").mkdir()
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(os.sys.executable), os.environ["PATH"]]))
    report = check_engine(store, command)
    assert report.holds, report
    assert results(report) == [GOOD]
    assert report.workers[0].job == "Slurm 12"
    assert os.listdir(tmp_path / "log-1") == []


def test_a_command_may_start_several_and_put_labels_before_what_they_print(store):
    script = 'for rank in 0 1 2; do "$@" | sed "s/^/$rank: /" & done; wait'
    report = check_engine(store, ["sh", "-c", script, "start"])
    assert report.holds, report
    assert len(report.workers) == 3


def test_a_store_in_memory_is_refused():
    with ThreadPoolExecutor(1) as executor, pytest.raises(StoreUsageError, match="in memory"):
        check_engine(chunkstore.open_store("buffered"), executor)


# --- one thing that does not hold at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["nothing", "a folder"])
def test_workers_that_see_another_folder_are_found(tmp_path, store, there):
    (tmp_path / "log-1").mkdir()
    if there == "a folder":
        (tmp_path / "log-2").mkdir()
    with Elsewhere(tmp_path / "log-1", tmp_path / "log-2") as executor:
        report = check_engine(store, executor)
    assert not report.holds
    assert results(report)[0]["folder"] == "bad"
    (finding,) = report.findings
    said = "another folder is there" if there == "a folder" else "there is no such folder"
    for part in (str(report.workers[0]), report.driver, str(tmp_path / "log-1"), said):
        assert part in finding
    assert (tmp_path / "log-2").exists() == (there == "a folder")
    assert there == "nothing" or os.listdir(tmp_path / "log-2") == []


def test_workers_that_see_another_catalog_are_found(tmp_path, store):
    for name in ("log-1", "data", "date"):
        (tmp_path / name).mkdir()
    with Elsewhere(tmp_path / "data", tmp_path / "date") as executor:
        report = check_engine(store, executor)
    assert results(report) == [GOOD | {"data": "bad"}]
    assert not report.holds


def no_lock(fd, blocking):
    return True


def lock_but_own(fd, blocking, real=locks.lock_descriptor):
    return "lock-" in os.path.basename(os.readlink(f"/proc/self/fd/{fd}")).replace("driver-", "") or real(
        fd, blocking=blocking
    )


def set_up(patches):
    for place, name, value in patches:
        setattr(place, name, value)


def set_clock(ahead, real=time.time_ns):
    time.time_ns = lambda: real() + int(ahead * 1e9)


@pytest.mark.parametrize(
    ("patches", "name", "result", "said"),
    [
        ([(locks, "lock_descriptor", no_lock)], "locks", "bad", "gets a lock in"),
        ([(locks, "lock_descriptor", lock_but_own)], "locks", "bad", "gets all the same"),
        ([(worker, "__version__", "0.0.7")], "chunkstore", "caution", "0.0.7"),
        ([(worker, "FORMAT", 99)], "chunkstore", "bad", "format"),
        ([(worker.platform, "python_version", lambda: "3.7.1")], "python", "caution", "3.7.1"),
    ],
    ids=["no locks", "own locks alone", "another version", "another format", "another Python"],
)
def test_what_a_worker_lacks_is_found(store, patches, name, result, said):
    with ProcessPoolExecutor(1, initializer=set_up, initargs=(patches,)) as executor:
        report = check_engine(store, executor)
    assert results(report) == [GOOD | {name: result}]
    assert said in details(report, name)[0]
    assert report.holds == (result != "bad")
    assert report.findings == ([f"{report.workers[0]}: {details(report, name)[0]}"] if result == "bad" else [])


@pytest.mark.parametrize(
    ("ahead", "result"), [(5, "caution"), (-5, "caution"), (4 * YEAR, "bad"), (-4 * YEAR, "bad"), (0.2, "good")]
)
def test_how_far_clocks_differ_is_told_with_bounds(store, ahead, result):
    with ProcessPoolExecutor(1, initializer=set_clock, initargs=(ahead,)) as executor:
        report = check_engine(store, executor)
    assert results(report) == [GOOD | {"clock": result}]
    (one,) = report.workers
    assert one.clock_low <= ahead <= one.clock_high
    assert one.clock_high - one.clock_low < 5
    assert report.holds == (result != "bad")


# --- workers that do not answer --------------------------------------------------------------------------------------


def hang(*_):
    time.sleep(60)


def die(*_):
    os._exit(1)


def test_a_worker_that_hangs_is_named(store):
    executor = ProcessPoolExecutor(1, initializer=set_up, initargs=([(worker, "is_held", hang)],))
    report = check_engine(store, executor, timeout=1)
    (pid,) = executor._processes
    os.kill(pid, signal.SIGKILL)
    executor.shutdown()
    assert report.silent == [f"process {pid} on {os.uname().nodename} has begun, and did not answer in 1 seconds."]
    assert not report.holds


class Idle(Executor):
    """Takes work and does none."""

    def submit(self, function, /, *arguments):
        return Future()


class Closed(Executor):
    def submit(self, function, /, *arguments):
        raise RuntimeError("closed\nfor good")


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (Idle(), "No answer to 2 questions in 0.2 seconds"),
        (Closed(), "The engine takes no work: RuntimeError: for good."),
        (["a-command-that-there-is-not"], "The command cannot be started: No such file or directory."),
        (["sh", "-c", "echo reason >&2; exit 3"], "ended with exit code 3, after 0 answers: reason"),
        (["sh", "-c", "exit 0"], "ended with exit code 0, after 0 answers"),
        (["sh", "-c", "exit 127"], "If Python lies elsewhere there, end the command with it"),
    ],
    ids=["idle", "closed", "no command", "failing", "silent", "no Python"],
)
def test_an_engine_that_does_not_work_is_told_of(store, engine, said):
    timeout = 0.2 if isinstance(engine, Idle) else 30
    report = check_engine(store, engine, workers=2, timeout=timeout)
    assert said in report.silent[0]
    assert (report.workers, report.holds) == ([], False)


def test_a_worker_that_dies_is_told_of(store):
    with ProcessPoolExecutor(1, initializer=set_up, initargs=([(worker, "is_held", die)],)) as executor:
        report = check_engine(store, executor)
    assert "A worker gave no answer: BrokenProcessPool" in report.silent[0]


def test_a_command_that_hangs_is_ended_with_all_that_it_has_started(tmp_path, store):
    script = 'sleep 60 & echo $! > "$0"; "$@"; wait'
    report = check_engine(store, ["sh", "-c", script, str(tmp_path / "pid")], timeout=1.5)
    assert report.silent == ["The command has not ended in 1.5 seconds."]
    assert len(report.workers) == 1  # the one that has answered is told of all the same
    assert not report.holds
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", (tmp_path / "pid").read_text().strip()], capture_output=True, text=True, check=False
    )
    assert state.stdout.strip()[:1] in {"", "Z"}


# --- other mounts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def mounting():
    """What starts a command in mounts of its own, after another command."""
    if os.geteuid() != 0:
        skip_or_fail("mounts of their own take root")
    return lambda first: ["unshare", "-m", "sh", "-c", f'{first} && exec "$@"', "start"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("mount -t tmpfs none {}", "another folder is there; mounted there: tmpfs from none"),
        ("mount --bind {} {} && mount -o remount,ro,bind {}", "cannot write in"),
    ],
    ids=["another disk", "read-only"],
)
def test_a_worker_with_other_mounts_is_found(tmp_path, store, mounting, mount, said):
    folder = tmp_path / "log-1"
    folder.mkdir()
    report = check_engine(store, mounting(mount.replace("{}", str(folder))))
    assert len(report.workers) == 1
    assert said in report.findings[0]
    assert os.listdir(folder) == []

"""Readers tell the truth about a run that says PROCESSING: live, lost, or not to be known, and why."""

import fcntl
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from processes import Forked, run_processes

import chunkstore
from chunkstore.backends.disk import held, mounts
from chunkstore.backends.disk.mounts import boot_id, mount_of, process_identity
from chunkstore.backends.mount import Mount
from chunkstore.clock import parse_time
from chunkstore.stores.runs.liveness import LIVE, LOST, UNKNOWN, Owner, judge

RUN = "truth"
EXT4 = Mount("/", "ext4", "/dev/sda1", frozenset({"rw"}))
NFS = Mount("/", "nfs4", "server:/", frozenset({"rw", "vers=4.2", "local_lock=none"}))


def files(folder):
    return chunkstore.open_store("chunked-fs", log_folder=str(folder / "logs"))


def journal(folder):
    return chunkstore.open_store("chunked-fs", log_folder=str(folder / "logs"), container="journal")


def document(folder):
    return chunkstore.open_store("file-system", log_folder=str(folder / "logs"))


_stores = pytest.mark.parametrize("open_store", [files, journal, document])


@_stores
def test_a_slow_run_on_a_live_owner_is_live_and_a_killed_one_is_lost_with_host_and_when_last_heard(
    tmp_path, open_store
):
    def record(say):
        with open_store(tmp_path).start_run(RUN) as run:
            with run.step("a"):
                pass
            for root, _, names in os.walk(tmp_path):  # it has been silent for years
                for path in (root, *(os.path.join(root, name) for name in names)):
                    os.utime(path, (1, 1_000_000_000))
            say("recorded")
            signal.pause()

    with Forked(record) as owner:
        assert owner.wait_for_line() == "recorded"
        store = open_store(tmp_path)
        living = store.liveness(RUN)
        pid = owner.pid
        assert (living.state, living.host, living.pid) == (LIVE, os.uname().nodename, pid)
        owner.kill()
    lost = store.liveness(RUN)
    assert (lost.state, lost.host, lost.pid) == (LOST, os.uname().nodename, pid)
    assert parse_time(lost.last_heard).timestamp() == 1_000_000_000
    assert str(pid) in lost.why
    assert store.get_run_log(RUN).status == "PROCESSING"  # what was recorded stays


@_stores
def test_of_a_run_without_an_owner_nobody_can_tell(tmp_path, open_store):
    store = open_store(tmp_path)
    store.create_run_log(RUN)
    found = store.liveness(RUN)
    assert (found.state, found.host) == (UNKNOWN, "")
    assert "may join" in found.why
    tmp_path.joinpath("logs", *store._run_file(RUN)).write_text("{damaged")
    assert store.liveness(RUN).state == UNKNOWN  # also where its record cannot be read


@_stores
def test_a_run_that_was_joined_is_live_as_long_as_one_process_records_it(tmp_path, open_store):
    def record(say):
        with open_store(tmp_path).join_run(RUN, create=True) as run:
            with run.step(f"from {os.getpid()}"):
                pass
            say("recorded")
            signal.pause()

    store = open_store(tmp_path)
    with Forked(record) as first, Forked(record) as second:
        assert [first.wait_for_line(), second.wait_for_line()] == ["recorded"] * 2
        both = store.liveness(RUN)
        assert (both.state, both.host) == (LIVE, os.uname().nodename)
        assert "2 processes" in both.why
        first.kill()
        assert (store.liveness(RUN).state, store.liveness(RUN).pid) == (LIVE, second.pid)
        second.kill()
    left = store.liveness(RUN)
    assert (left.state, left.host) == (UNKNOWN, os.uname().nodename)
    assert "others may still join" in left.why
    assert len(store.get_run_log(RUN, strict=True).steps) == 2


@_stores
def test_who_leaves_a_run_leaves_nothing_behind(tmp_path, open_store):
    store = open_store(tmp_path)
    with store.join_run(RUN, create=True) as run:
        assert open_store(tmp_path).liveness(RUN).state == LIVE
        with run.step("a"):
            pass
    assert open_store(tmp_path).liveness(RUN).state == UNKNOWN
    store.join_run(RUN).finish()
    assert not list(tmp_path.rglob("*.owner*"))


@_stores
def test_who_has_joined_keeps_a_run_live_whose_owner_has_died(tmp_path, open_store):
    def record(say):
        with open_store(tmp_path).start_run(RUN):
            say("begun")
            signal.pause()

    with Forked(record) as owner:
        owner.wait_for_line()
        joined = open_store(tmp_path).join_run(RUN)
        owner.kill()
    assert (open_store(tmp_path).liveness(RUN).state, open_store(tmp_path).liveness(RUN).pid) == (LIVE, os.getpid())
    with joined:
        pass
    assert open_store(tmp_path).liveness(RUN).state == LOST


def look(open_store, folder, seconds):
    store, until, told = open_store(Path(folder)), time.monotonic() + seconds, Counter()
    while time.monotonic() < until:
        told[store.liveness(RUN).state] += 1
    return told


@pytest.mark.thorough
@_stores
def test_who_looks_is_not_taken_for_the_owner_by_another_who_looks(tmp_path, open_store):
    def record(say):
        with open_store(tmp_path).start_run(RUN):
            say("begun")
            signal.pause()

    with Forked(record) as owner:
        owner.wait_for_line()
        owner.kill()
    told = sum(run_processes(look, [(open_store, str(tmp_path), 0.7)] * 3), Counter())
    assert set(told) == {LOST}
    assert told[LOST] > 300


@pytest.mark.parametrize("with_range_locks", [True, False], ids=["range locks", "flock alone"])
def test_who_stops_while_it_looks_keeps_nobody_from_its_lock(tmp_path, monkeypatch, with_range_locks):
    """A looker may be stopped at any moment, also when it has just got to know what it wanted to."""
    if not with_range_locks:
        monkeypatch.setattr(held, "ARE_THERE", False)
    store = files(tmp_path)
    store.create_run_log(RUN)
    folder = store.backend._folders.fresh(RUN)
    fd = os.open(tmp_path / "logs" / RUN / ".owner", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"{}")

    def look_and_stop(say):
        original = fcntl.flock

        def slow(fd, operation):
            original(fd, operation)
            if operation & fcntl.LOCK_SH:
                say("looking")
                time.sleep(0.02 if not with_range_locks else 5)

        fcntl.flock = slow
        held.holder(files(tmp_path).backend._folders.fresh(RUN), ".owner")

    with Forked(look_and_stop) as looker:
        assert looker.wait_for_line() == "looking"
        holder = held.HeldFile(folder, ".owner", b'{"pid":1}')
        assert holder._fd >= 0
        looker.kill()
    assert store.liveness(RUN).state == LIVE
    holder.release()
    os.close(fd)


def test_an_owner_of_an_older_version_which_knows_no_range_locks_is_live(tmp_path):
    store = files(tmp_path)
    store.create_run_log(RUN)

    def hold(say):
        fd = os.open(tmp_path / "logs" / RUN / ".owner", os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, msgspec.json.encode(Owner.here()))
        say("held")
        signal.pause()

    with Forked(hold) as owner:
        owner.wait_for_line()
        assert store.liveness(RUN).state == LIVE
        owner.kill()
    assert store.liveness(RUN).state == LOST


def test_an_older_version_which_looks_with_an_exclusive_lock_sees_the_owner(tmp_path):
    run = files(tmp_path).start_run(RUN)
    with open(tmp_path / "logs" / RUN / ".owner") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    run.finish()


def join_and_leave(open_store, folder, rounds):
    for _ in range(rounds):
        with open_store(Path(folder)).join_run(RUN, capture_output=False):
            assert open_store(Path(folder)).liveness(RUN).state == LIVE


@pytest.mark.sampled
@_stores
def test_processes_that_join_and_leave_at_once_are_seen_each_and_leave_nothing(tmp_path, open_store):
    open_store(tmp_path).create_run_log(RUN)
    run_processes(join_and_leave, [(open_store, str(tmp_path), 30)] * 3)
    assert open_store(tmp_path).liveness(RUN).state == UNKNOWN
    assert not list(tmp_path.rglob("*.joined"))


def test_who_is_stopped_while_it_leaves_keeps_nobody_from_joining(tmp_path):
    store = files(tmp_path)
    store.create_run_log(RUN)

    def leave(say):
        joined = held.JoinedFile(files(tmp_path).backend._folders.fresh(RUN), ".joined", b"{}")
        held.discard = lambda *_: (say("leaving"), time.sleep(20))
        joined.release()

    with Forked(leave) as leaver:
        assert leaver.wait_for_line() == "leaving"
        began = time.monotonic()
        with store.join_run(RUN, capture_output=False) as run:
            run.step("s", int, "1")
        assert time.monotonic() - began < 10
        assert store.liveness(RUN).state == UNKNOWN  # nobody can tell
        leaver.kill()


def test_of_two_who_leave_at_once_the_later_takes_nothing_of_whoever_has_joined_meanwhile(tmp_path, monkeypatch):
    store = files(tmp_path)
    store.create_run_log(RUN)
    first, last = (held.JoinedFile(store.backend._folders.fresh(RUN), ".joined", b"{}") for _ in range(2))
    lock, joined = held.lock_range, []

    def lock_late(fd, start, length):
        """The last one holds nothing any more; the first one removes the file, and somebody makes a new one."""
        monkeypatch.setattr(held, "lock_range", lock)
        first.release()
        joined.append(store.join_run(RUN, capture_output=False))
        return lock(fd, start, length)

    monkeypatch.setattr(held, "lock_range", lock_late)
    last.release()
    with joined[0]:
        assert files(tmp_path).liveness(RUN).state == LIVE


def test_who_joins_while_the_last_one_leaves_is_seen(tmp_path, monkeypatch):
    store = files(tmp_path)
    store.create_run_log(RUN)
    leaving = held.JoinedFile(store.backend._folders.fresh(RUN), ".joined", b"{}")
    lock = held.lock_range

    def lock_late(fd, start, length):
        monkeypatch.setattr(held, "lock_range", lock)
        leaving.release()  # the file was opened by whoever joins, and is removed now
        return lock(fd, start, length)

    monkeypatch.setattr(held, "lock_range", lock_late)
    with store.join_run(RUN, capture_output=False):
        assert files(tmp_path).liveness(RUN).state == LIVE


def test_whatever_the_file_of_those_who_joined_holds_is_no_error(tmp_path):
    store = files(tmp_path)
    with store.join_run(RUN, create=True, capture_output=False):
        path = tmp_path / "logs" / RUN / ".joined"
        for data in (b"", b"\xff\n{}\n[1]\n", b'{"place":-1}\n{"place":1e400}\n' * 3, b"x" * 3_000_000):
            path.write_bytes(data)
            assert store.liveness(RUN).state == LIVE
    store.create_run_log("other")
    (tmp_path / "logs" / "other" / ".joined").write_bytes(b'{"place":5,"holder":{"pid":7,"host":"h"}}\n')
    assert (store.liveness("other").state, store.liveness("other").host) == (UNKNOWN, "h")


def test_a_run_in_memory_is_live():
    store = chunkstore.open_store("buffered")
    store.create_run_log(RUN)
    assert store.liveness(RUN).state == LIVE


@_stores
def test_a_run_that_is_not_there_is_an_error(tmp_path, open_store):
    with pytest.raises(chunkstore.RunLogNotFoundError):
        open_store(tmp_path).liveness(RUN)


def test_points_that_were_appended_count_as_heard(tmp_path):
    store = files(tmp_path)
    store.create_run_log(RUN)
    store.add_step_log(RUN, chunkstore.StepLog(name="a", internal_name="a"))
    store.append_metrics(RUN, "a", {"loss": [chunkstore.MetricPoint(1, 0.5)]})
    folder = tmp_path / "logs" / RUN
    (points,) = folder.glob("Metric-*")
    for path in (folder, *folder.iterdir()):
        os.utime(path, (1, 1))
    os.utime(points, (1, 1_500_000_000))
    assert parse_time(store.liveness(RUN).last_heard).timestamp() == 1_500_000_000


# --- what a free lock means -------------------------------------------------------------------------------------------


def owner(**changes):
    here = Owner.here()
    fields = {"pid": 7, "host": here.host, "since": here.since, "boot": here.boot}
    return Owner(**{**fields, **changes})


@pytest.mark.parametrize(
    ("who", "mount", "state", "word"),
    [
        (owner(), EXT4, LOST, "ended"),
        (owner(host="container"), EXT4, LOST, "ended"),  # the same kernel, so it knows
        (owner(boot="another"), EXT4, LOST, "started anew"),
        (owner(boot=""), None, LOST, "ended"),
        (owner(host="", boot=""), EXT4, LOST, "ended"),
        (owner(host="elsewhere", boot="another"), NFS, LOST, "nfs4"),
        (owner(host="elsewhere", boot="another"), EXT4, UNKNOWN, "copied"),
        (owner(host="elsewhere", boot="another"), Mount("/", "fuse.sshfs", "", frozenset()), UNKNOWN, "fuse.sshfs"),
        (owner(host="elsewhere", boot="another"), Mount("/", "nfs", "", frozenset({"nolock"})), UNKNOWN, "nfs"),
        (owner(host="elsewhere", boot="another"), None, UNKNOWN, "this file system"),
        (owner(host="", boot=""), NFS, LOST, "nfs4"),
        (owner(host="elsewhere", boot="another", locks="host"), NFS, UNKNOWN, "to itself"),
        # Through two mounts on one host, where only the kernel is sure who lives.
        (owner(pid=os.getpid(), process=process_identity(os.getpid())), NFS, UNKNOWN, "may live"),
        (owner(process=process_identity(os.getpid()) + "9"), NFS, LOST, "ended"),
        (owner(process="1:2", host="container"), NFS, LOST, "ended"),
        (owner(process="1:2", host="container", locks="host"), NFS, UNKNOWN, "may live"),
        (owner(process="1:2"), Mount("/", "nfs", "", frozenset({"nolock"})), UNKNOWN, "may live"),
    ],
)
def test_a_free_lock_means_what_can_be_known_from_here(who, mount, state, word):
    found = judge(who, is_held=False, mount=lambda: mount, last_heard="then")
    assert (found.state, found.last_heard) == (state, "then")
    assert word in found.why


@pytest.mark.parametrize("mount", [EXT4, NFS, None])
def test_a_held_lock_means_a_live_owner_wherever_it_is(mount):
    for who in (owner(), owner(host="elsewhere", boot="another"), Owner()):
        assert judge(who, is_held=True, mount=lambda: mount, last_heard="").state == LIVE


def test_a_lock_that_cannot_be_looked_at_tells_nothing():
    assert judge(owner(), is_held=None, mount=lambda: EXT4, last_heard="").state == UNKNOWN


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"pid": "x"}', b"[" * 100_000])
def test_whatever_an_owner_s_file_holds_is_no_error(tmp_path, data):
    store = files(tmp_path)
    store.create_run_log(RUN)
    (tmp_path / "logs" / RUN / ".owner").write_bytes(data)
    assert store.liveness(RUN).state in {LOST, UNKNOWN}
    assert store.liveness(RUN).host == ""


def test_an_owner_s_file_names_process_host_and_kernel(tmp_path):
    run = files(tmp_path).start_run(RUN)
    written = json.loads((tmp_path / "logs" / RUN / ".owner").read_bytes())
    assert written["pid"] == os.getpid()
    assert written["host"] == os.uname().nodename
    assert written["boot"] == boot_id()
    run.finish()


# --- mounts ----------------------------------------------------------------------------------------------------------

LISTED = r"""22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 22 0:30 / /data rw - nfs4 server:/export rw,vers=4.2,local_lock=none
31 22 0:31 / /data/with\040space rw,nosuid - fuse.sshfs me@there: rw,user_id=0
32 22 0:32 / /over rw - ext4 /dev/vdb rw
33 32 0:33 / /over rw - tmpfs tmpfs rw,size=1g
a line of another kind
"""


@pytest.mark.parametrize(
    ("path", "type", "local", "shared"),
    [
        ("/", "ext4", True, False),
        ("/datafile", "ext4", True, False),
        ("/data", "nfs4", False, True),
        ("/data/deeper/down", "nfs4", False, True),
        ("/data/with space/x", "fuse.sshfs", False, False),
        ("/over/x", "tmpfs", True, False),
    ],
)
def test_the_innermost_and_last_mount_of_a_path_counts(tmp_path, path, type, local, shared):  # noqa: A002
    listed = tmp_path / "mountinfo"
    listed.write_text(LISTED)
    mount = mount_of(path, str(listed))
    assert (mount.type, mount.is_local, mount.has_shared_locks) == (type, local, shared)


def test_without_a_list_of_mounts_nothing_is_known_of_any(tmp_path):
    assert mount_of("/", str(tmp_path / "none")) is None
    (tmp_path / "empty").write_text("")
    assert mount_of("/", str(tmp_path / "empty")) is None


def test_where_these_tests_run_there_is_a_mount():
    found = mount_of(os.getcwd())
    assert (found is not None) == Path(mounts._MOUNTS).exists()


def test_a_kernel_tells_one_process_from_another_and_the_dead_from_the_living(tmp_path):
    def wait(say):
        say("up")
        signal.pause()

    with Forked(wait) as child:
        child.wait_for_line()
        living = process_identity(child.pid)
        assert living not in {"", process_identity(os.getpid())}
        assert process_identity(child.pid) == living
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # nobody has noted its end yet
        assert process_identity(child.pid) == ""
    assert process_identity(child.pid) == ""


def test_an_owner_says_whether_other_hosts_see_its_locks():
    assert Owner.here(EXT4).locks == Owner.here(NFS).locks == Owner.here().locks == ""
    for mount in (Mount("/", "nfs", "", frozenset({"nolock"})), Mount("/", "fuse.sshfs", "", frozenset())):
        assert Owner.here(mount).locks == "host"

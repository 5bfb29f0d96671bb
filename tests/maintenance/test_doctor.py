"""Every verdict of the doctor is seen to fail where it should, and all hold on a file system that does its work."""

import errno
import os
import signal
import time
import unicodedata

import pytest
from processes import Forked
from proofs.torture import filesystems

from chunkstore.backends.disk import locks
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.mount import Mount
from chunkstore.errors import StoreAccessError, StoreFullError
from chunkstore.maintenance.doctor import probes, races
from chunkstore.maintenance.doctor.examination import examine
from chunkstore.maintenance.doctor.surroundings import surroundings_of
from chunkstore.testing.faults import FaultySyscalls, InterruptedSyscalls

DISK = Mount("/", "ext4", "/dev/sda1", frozenset({"rw"}))


def results(report):
    return {check.name: check.result for check in report.checks}


def holds(report):
    return {one.promise.split(",")[0]: one.result for one in report.guarantees}


def examined(folder, syscalls=None, mount=DISK):
    report = examine(str(folder), syscalls=syscalls or Syscalls(), find_mount=lambda _: mount)
    assert os.listdir(folder) == []
    return report


pytestmark = pytest.mark.usefixtures("quick_collections")


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """What goes wrong here goes wrong at once."""
    for module, name, value in (
        (races, "_SECONDS", 0.05),
        (races, "_ROUNDS", 20),
        (races, "_COUNTS", 15),
        (probes, "_CLOCK_SECONDS", 0.02),
        (probes, "_PATIENCE", 0.1),
    ):
        monkeypatch.setattr(module, name, value)


# --- a file system that does its work --------------------------------------------------------------------------------


@pytest.mark.thorough
def test_on_a_disk_everything_holds_and_nothing_is_left_behind(tmp_path):
    report = examined(tmp_path)
    assert report.holds
    assert report.folder == str(tmp_path)
    assert set(results(report).values()) <= {"good", "told", "caution"}
    for name in ("replace", "publish", "lock", "lock-of-the-dead", "lock-of-a-parent", "exclusive", "sync"):
        assert results(report)[name] == "good", name
    assert {setting.key: setting.value for setting in report.settings}["type"] == "chunked-fs"
    assert "bad" not in holds(report).values()


def test_where_there_is_no_folder_yet_the_closest_one_above_is_examined(tmp_path):
    report = examine(str(tmp_path / "not" / "yet"))
    assert report.folder == str(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.thorough
def test_it_takes_a_few_seconds_at_most(tmp_path, monkeypatch):
    monkeypatch.undo()
    start = time.monotonic()
    examine(str(tmp_path))
    assert time.monotonic() - start < 5


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_real_file_systems_of_other_kinds_are_named_and_examined(kind):
    filesystems.require(kind)
    with filesystems.mounted(kind) as disk:
        report = examine(os.path.join(disk.path, "logs"))
        assert report.file_system == kind
        assert report.holds
        chosen = {setting.key: setting.value for setting in report.settings}
        assert chosen["durability"] == ("process" if kind == "tmpfs" else "run")


# --- one thing that does not hold at a time --------------------------------------------------------------------------


class GoneForAMoment(Syscalls):
    """Renames as some file systems of servers do: first the old name goes, then the new one comes."""

    def rename(self, source, target, dir_fd=None):
        if target == "replaced":
            self.unlink(target, dir_fd)
            time.sleep(0.001)
        super().rename(source, target, dir_fd)


class Overwriting(Syscalls):
    """Gives a file a name that is taken."""

    def link(self, source, target, dir_fd):
        try:
            super().link(source, target, dir_fd)
        except FileExistsError:
            self.unlink(target, dir_fd)
            super().link(source, target, dir_fd)

    def link_unnamed(self, fd, target, dir_fd):
        try:
            super().link_unnamed(fd, target, dir_fd)
        except FileExistsError:
            self.unlink(target, dir_fd)
            super().link_unnamed(fd, target, dir_fd)


class WithoutNamesLater(Syscalls):
    """Has neither files without a name nor hard links, as vfat."""

    def open(self, path, flags, dir_fd=None):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return super().open(path, flags, dir_fd)

    def link(self, source, target, dir_fd):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


class MissingNames(Syscalls):
    """Leaves one of the listed files out of every third listing, or of all."""

    def __init__(self, *, always):
        self.always = always
        self.count = 0

    def list(self, fd):
        names = super().list(fd)
        self.count += 1
        return [name for name in names if name != "listed-3" or (self.count % 3 and not self.always)]


class Folding(Syscalls):
    """Takes upper and lower case for the same."""

    def lstat(self, path, dir_fd=None):
        return super().lstat(path.replace("/case", "/Case"), dir_fd)


class Decomposing(Syscalls):
    """Stores accents as macOS once did."""

    def open(self, path, flags, dir_fd=None):
        return super().open(unicodedata.normalize("NFD", path), flags, dir_fd)


class ShortNames(Syscalls):
    """Has names of up to 143 bytes, as eCryptfs."""

    def open(self, path, flags, dir_fd=None):
        if len(os.path.basename(path).encode()) > 143:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return super().open(path, flags, dir_fd)


class ReplacingFolders(Syscalls):
    """Lets a folder take the place of one that has something in it."""

    def rename(self, source, target, dir_fd=None):
        if target.endswith("/run"):
            os.unlink(f"{target}/file")
        super().rename(source, target, dir_fd)


class NoFolderSync(Syscalls):
    """Cannot sync folders, as some FUSE file systems."""

    def fsync(self, fd):
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


class Slow(Syscalls):
    """A server that is far away."""

    def link_unnamed(self, fd, target, dir_fd):
        if target.startswith("timed"):
            time.sleep(0.002)
        super().link_unnamed(fd, target, dir_fd)


class Full(Syscalls):
    def statvfs(self, fd):
        real = super().statvfs(fd)
        return os.statvfs_result((*real[:3], 1, 1, *real[5:]))


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("syscalls", "name", "result", "promise"),
    [
        (GoneForAMoment(), "replace", "bad", "What was recorded is never lost"),
        (Overwriting(), "publish", "bad", "What was recorded is never lost"),
        (Overwriting(), "unnamed", "bad", "What was recorded is never lost"),
        (Overwriting(), "hard-links", "bad", "What was recorded is never lost"),
        (WithoutNamesLater(), "publish-whole", "caution", None),
        (WithoutNamesLater(), "hard-links", "told", None),
        (MissingNames(always=False), "listing", "caution", None),
        (MissingNames(always=True), "listing", "bad", "A read shows everything that was recorded before it"),
        (Folding(), "case", "caution", None),
        (Decomposing(), "unicode", "caution", None),
        (ShortNames(), "name-length", "bad", "What was recorded is never lost"),
        (ReplacingFolders(), "folder-rename", "bad", "What was recorded is never lost"),
        (NoFolderSync(), "sync", "bad", "What was recorded survives a loss of power"),
        (Full(), "room", "caution", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Syscalls) else None,
)
def test_what_does_not_hold_is_found(tmp_path, syscalls, name, result, promise):
    report = examined(tmp_path, syscalls)
    assert results(report)[name] == result
    assert report.holds == ("bad" not in results(report).values())
    if promise:
        assert holds(report)[promise] == "bad"
    else:
        assert report.holds
        assert "bad" not in holds(report).values()


def test_a_lock_that_keeps_nobody_out_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "lock_descriptor", lambda fd, blocking: True)
    monkeypatch.setattr(locks, "unlock_descriptor", lambda fd: None)
    report = examined(tmp_path)
    assert (
        results(report)["lock"] == results(report)["lock-of-the-dead"] == results(report)["lock-of-a-parent"] == "bad"
    )
    assert holds(report)["Changes that several processes make at once are all kept"] == "bad"


def test_locks_that_do_not_work_are_found(tmp_path, monkeypatch):
    def no_locks(fd, blocking):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "lock_descriptor", no_locks)
    report = examined(tmp_path)
    assert results(report)["lock"] == results(report)["lock-of-a-parent"] == "bad"
    assert not report.holds
    assert "no working locks" in next(check.detail for check in report.checks if check.name == "lock")


@pytest.mark.thorough
def test_the_lock_of_a_dead_process_that_stays_is_found(tmp_path, monkeypatch):
    real, pid = locks.lock_descriptor, os.getpid()

    def never_again(fd, blocking):
        is_dead_lock = os.readlink(f"/proc/self/fd/{fd}").endswith("dead-lock")
        return real(fd, blocking=blocking) if not is_dead_lock or os.getpid() != pid else False

    monkeypatch.setattr(locks, "lock_descriptor", never_again)
    report = examined(tmp_path)
    assert [name for name, result in results(report).items() if result == "bad"] == ["lock-of-the-dead"]
    assert holds(report)["A run whose process died is told from one that is slow"] == "bad"


def test_a_lock_that_a_forked_child_frees_is_found(tmp_path, monkeypatch):
    abandon = locks.SidecarLock.abandon

    def unlock_first(lock):
        if lock._fd is not None:
            locks.unlock(lock._fd)
        abandon(lock)

    monkeypatch.setattr(locks.SidecarLock, "abandon", unlock_first)
    assert results(examined(tmp_path))["lock-of-a-parent"] == "bad"


# --- settings --------------------------------------------------------------------------------------------------------


def settings_of(report):
    return {setting.key: setting.value for setting in report.settings}


@pytest.mark.thorough
def test_where_new_files_are_slow_journals_are_advised(tmp_path):
    assert settings_of(examined(tmp_path, Slow()))["container"] == "journal"
    assert settings_of(examined(tmp_path))["container"] == "files"


def test_where_nothing_can_be_synced_no_durability_is_pretended(tmp_path):
    assert settings_of(examined(tmp_path, NoFolderSync()))["durability"] == "process"


def test_a_network_mount_gets_journals_and_sealed_runs(tmp_path):
    server = Mount("/data", "nfs4", "server:/data", frozenset({"rw", "vers=4.2", "local_lock=none"}))
    report = examined(tmp_path, mount=server)
    assert settings_of(report)["container"] == "journal"
    assert "seal_finished_runs" in settings_of(report)
    assert holds(report)["Several hosts can record one run at once"] == "good"


# --- what is mounted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "hosts", "shared", "word"),
    [
        ("ext4", "", "one", False, ""),
        ("vfat", "", "one", False, ""),
        ("tmpfs", "", "one", False, "memory"),
        ("overlay", "", "one", False, "container"),
        ("nfs4", "vers=4.2,local_lock=none", "many", True, ""),
        ("nfs", "nolock", "many", False, "nolock"),
        ("nfs", "local_lock=all", "many", False, "local_lock=all"),
        ("lustre", "localflock", "many", False, "localflock"),
        ("cifs", "", "unknown", False, "Windows"),
        ("9p", "", "unknown", False, "virtual machine"),
        ("fuse.sshfs", "", "unknown", False, "FUSE"),
        ("somethingfs", "", "unknown", False, "somethingfs"),
    ],
)
def test_each_kind_of_mount_is_told_in_plain_words(kind, options, hosts, shared, word):
    found = surroundings_of(Mount("/m", kind, "source", frozenset(options.split(","))))
    assert (found.hosts, found.locks_are_shared) == (hosts, shared)
    assert word in found.caution
    assert bool(word) == bool(found.caution)
    assert found.as_check().result == ("caution" if word else "good")


def test_a_system_that_tells_nothing_of_its_mounts_is_examined_all_the_same(tmp_path):
    report = examined(tmp_path, mount=None)
    assert report.file_system == ""
    assert report.holds
    assert results(report)["mount"] == "told"


# --- stopped on the way ----------------------------------------------------------------------------------------------


def test_a_folder_that_nobody_may_write_to_is_an_error_that_says_so(tmp_path):
    with pytest.raises(StoreAccessError, match="log_folder"):
        examine(str(tmp_path), syscalls=FaultySyscalls(errno.EACCES, at=1, persistent=True, only=("mkdir",)))
    with pytest.raises(StoreFullError):
        examine(str(tmp_path), syscalls=FaultySyscalls(errno.ENOSPC, at=1, persistent=True, only=("mkdir",)))


def test_an_input_output_error_anywhere_is_a_verdict_and_never_a_crash(tmp_path):
    report = examined(tmp_path, FaultySyscalls(errno.EIO, at=1, persistent=True, only=("create", "rename", "link")))
    assert not report.holds
    assert len(report.checks) >= 15


@pytest.mark.parametrize("at", [1, 5, 40])
def test_whoever_presses_control_c_leaves_nothing_behind(tmp_path, at):
    with pytest.raises(KeyboardInterrupt):
        examine(str(tmp_path), syscalls=InterruptedSyscalls(at=at, only=("create", "rename")))
    assert os.listdir(tmp_path) == []


def test_a_real_interrupt_ends_its_processes_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(races, "_SECONDS", 30)

    def work(tell):
        os.setpgrp()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tell("begins")
        try:
            examine(str(tmp_path))
        except KeyboardInterrupt:
            tell("interrupted")
        time.sleep(60)

    with Forked(work) as child:
        assert child.wait_for_line() == "begins"
        while not os.listdir(tmp_path):
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait_for_line() == "interrupted"
        assert os.listdir(tmp_path) == []

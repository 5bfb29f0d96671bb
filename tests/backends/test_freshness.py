"""What other hosts did is found by the next look, also where this host remembers what it has seen of a file server."""

import errno
import os
import time

import pytest

import chunkstore
from chunkstore import RunLogNotFoundError, StepLog
from chunkstore.backends.base import PROCESS
from chunkstore.backends.disk import held
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.freshness import memory_of
from chunkstore.backends.disk.range_locks import lock_range
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.mount import Mount
from chunkstore.clock import parse_time
from chunkstore.errors import ChunkstoreError
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.stores.options import JOURNAL, StoreOptions
from chunkstore.testing.faults import CountingSyscalls, FaultySyscalls

CIFS = Mount("/", "cifs", "//server/share", frozenset())
NFS = Mount("/", "nfs4", "server:/", frozenset({"rw", "vers=4.2", "local_lock=none"}))
RUN = "run"


class OfAClient(Syscalls):
    """What an NFS client does: until a folder is opened, it answers for it from what it has seen.

    That a name is not there is remembered, and what a name stood for.
    """

    def __init__(self):
        self.seen = {}

    @staticmethod
    def _whole(path, dir_fd):
        if dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
        return os.path.normpath(path)

    def _look_up(self, path, dir_fd):
        """Return what a name stands for, or stood for when the client asked."""
        whole = self._whole(path, dir_fd)
        if whole not in self.seen:
            try:
                self.seen[whole] = os.lstat(whole)
            except FileNotFoundError:
                self.seen[whole] = None
        if self.seen[whole] is None:
            raise FileNotFoundError(errno.ENOENT, "remembered", whole)
        return self.seen[whole]

    def _forget(self, path, dir_fd=None):
        self.seen.pop(self._whole(path, dir_fd), None)

    def _forget_all_in(self, folder):
        for path in [path for path in self.seen if os.path.dirname(path) == folder]:
            del self.seen[path]

    def open(self, path, flags, dir_fd=None):
        flags &= ~os.O_DIRECT
        if flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE:
            self._forget(path, dir_fd)
            return super().open(path, flags, dir_fd)
        self._look_up(path, dir_fd)
        fd = super().open(path, flags, dir_fd)
        if flags & os.O_DIRECTORY:
            self._forget_all_in(self._whole(path, dir_fd))
        return fd

    def lstat(self, path, dir_fd=None):
        return self._look_up(path, dir_fd)

    def stat(self, path):
        return self._look_up(path, None)

    def mkdir(self, path, dir_fd=None):
        super().mkdir(path, dir_fd)
        self._forget(path, dir_fd)

    def rename(self, source, target, dir_fd=None):
        self._look_up(source, dir_fd)
        super().rename(source, target, dir_fd)
        self._forget(source, dir_fd)
        self._forget(target, dir_fd)

    def unlink(self, path, dir_fd=None):
        super().unlink(path, dir_fd)
        self._forget(path, dir_fd)

    def link(self, source, target, dir_fd, source_fd=None):
        whole = self._whole(target, dir_fd)
        if self.seen.get(whole) is not None:
            raise FileExistsError(errno.EEXIST, "remembered", whole)
        super().link(source, target, dir_fd, source_fd)
        self._forget(target, dir_fd)

    def link_unnamed(self, fd, target, dir_fd):
        raise OSError(errno.EOPNOTSUPP, "as NFS has it")


def files(folder, **options):
    return ChunkedStore(DirectoryBackend(folder / "logs", **options))


def journal(folder, **options):
    return ChunkedStore(DirectoryBackend(folder / "logs", **options), StoreOptions(container=JOURNAL))


def document(folder, **options):
    return DocumentStore(DirectoryBackend(folder / "logs", **options))


_stores = pytest.mark.parametrize("open_store", [files, journal, document])


def through_a_client(open_store, folder, **options):
    return open_store(folder, syscalls=OfAClient(), find_mount=lambda _: NFS, **options)


def step(name):
    return StepLog(name=name, internal_name=name)


LOOKS = {
    "has": lambda store: store.has_run(RUN),
    "read": lambda store: store.get_run_log(RUN).run_id == RUN,
    "add": lambda store: store.add_step_log(RUN, step("new")) is None,
    "parameters": lambda store: store.set_parameters(RUN, {"a": 1}) is None,
    "update": lambda store: store.update_run_log(RUN, lambda log: None).run_id == RUN,
    "join": lambda store: store.join_run(RUN) is not None,
    "follow": lambda store: next(store.follow(RUN)).run_id == RUN,
    "liveness": lambda store: store.liveness(RUN) is not None,
    "delete": lambda store: store.delete_run(RUN) is None,
}


def found(look, store):
    try:
        return look(store)
    except RunLogNotFoundError:
        return False


@_stores
@pytest.mark.parametrize("name", LOOKS)
def test_a_run_that_was_not_there_is_found_when_another_host_has_created_it(tmp_path, open_store, name):
    reader, writer = through_a_client(open_store, tmp_path), open_store(tmp_path)
    assert not found(LOOKS[name], reader)  # there is no log folder yet
    writer.create_run_log("other")
    assert not found(LOOKS["has"], reader)
    assert not found(LOOKS[name], reader)
    writer.create_run_log(RUN)
    assert found(LOOKS[name], reader)


@_stores
def test_a_run_that_another_host_has_deleted_is_gone_and_can_be_created(tmp_path, open_store):
    reader, writer = through_a_client(open_store, tmp_path), open_store(tmp_path)
    writer.create_run_log(RUN)
    reader.add_step_log(RUN, step("a"))
    assert list(reader.get_run_log(RUN).steps) == ["a"]
    writer.delete_run(RUN)
    for name in ("has", "read", "add", "parameters", "join", "liveness"):
        assert not found(LOOKS[name], reader), name
    writer.create_run_log(RUN)
    assert found(LOOKS["has"], reader)
    writer.delete_run(RUN)
    reader.create_run_log(RUN, tag="new")
    assert writer.get_run_log(RUN).tag == "new"


@_stores
def test_what_is_added_to_a_run_that_another_host_has_made_anew_is_in_the_new_one(tmp_path, open_store):
    client, writer = through_a_client(open_store, tmp_path), open_store(tmp_path)
    writer.create_run_log(RUN)
    client.add_step_log(RUN, step("old"))
    writer.delete_run(RUN)
    writer.create_run_log(RUN)
    client.add_step_log(RUN, step("new"))
    assert list(writer.get_run_log(RUN).steps) == ["new"]


def test_a_record_of_a_run_that_was_moved_away_meanwhile_is_not_acknowledged(tmp_path):
    for open_store in (files, journal):
        # At this level nobody looks whether the run has ended, either.
        client, writer = through_a_client(open_store, tmp_path, durability=PROCESS), open_store(tmp_path)
        writer.create_run_log(RUN)
        client.add_step_log(RUN, step("a"))
        # As deleting it does; that the folder cannot be removed yet is nothing special on NFS.
        os.rename(tmp_path / "logs" / RUN, tmp_path / "logs" / f".deleted-{open_store.__name__}")
        with pytest.raises(RunLogNotFoundError):
            client.add_step_log(RUN, step("b"))


def test_a_file_of_the_client_that_it_wrote_to_is_sent_to_the_server_before_it_is_acknowledged(tmp_path):
    calls = CountingSyscalls()
    store = ChunkedStore(
        DirectoryBackend(tmp_path / "logs", syscalls=calls, find_mount=lambda _: CIFS),
        StoreOptions(container=JOURNAL),
    )
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    calls.clear()
    store.add_step_log(RUN, step("b"))
    names = [call.name for call in calls.calls]
    assert "flush" in names[names.index("write") :]


def test_a_server_that_takes_a_line_no_more_is_told_and_the_line_is_not_acknowledged(tmp_path):
    calls = FaultySyscalls(errno.EDQUOT, at=1, only={"flush"})
    backend = DirectoryBackend(tmp_path / "logs", syscalls=calls, find_mount=lambda _: CIFS)
    store = ChunkedStore(backend, StoreOptions(container=JOURNAL))
    store.create_run_log(RUN)
    with pytest.raises(chunkstore.StoreFullError):
        store.add_step_log(RUN, step("a"))
    store.add_step_log(RUN, step("b"))
    assert list(files(tmp_path).get_run_log(RUN).steps) == ["b"]


def test_on_a_disk_of_this_host_nobody_looks_twice(tmp_path):
    calls = CountingSyscalls()
    store = files(tmp_path, syscalls=calls, find_mount=lambda _: Mount("/", "ext4", "", frozenset()))
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a"))
    calls.clear()
    assert not store.has_run("none")
    assert calls.counts == {"open": 1}
    calls.clear()
    store.add_step_log(RUN, step("b"))
    assert sum(calls.counts.values()) <= 7


# --- what a server has forgotten --------------------------------------------------------------------------------------

OPERATIONS = {
    "has_run": lambda store: store.has_run(RUN),
    "get_run_log": lambda store: store.get_run_log(RUN),
    "get_step_log": lambda store: store.get_step_log(RUN, "a"),
    "get_parameters": lambda store: store.get_parameters(RUN),
    "list_runs": lambda store: [run.run_id for run in store.list_runs()],
    "liveness": lambda store: store.liveness(RUN),
    "find_problems": lambda store: store.find_problems(RUN),
    "add_step_log": lambda store: store.add_step_log(RUN, step("b")),
    "set_parameters": lambda store: store.set_parameters(RUN, {"p": 2}),
    "update_run_log": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "tag", "t")),
    "append_metrics": lambda store: store.append_metrics(RUN, "a", {"m": [chunkstore.MetricPoint(1, 0.5)]}),
    "finish": lambda store: store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS")),
    "create_run_log": lambda store: store.create_run_log("another"),
    "delete_run": lambda store: store.delete_run(RUN),
}


@pytest.mark.sampled
@_stores
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_server_has_forgotten_is_looked_for_again_whichever_call_says_so(tmp_path, open_store, name):
    """A step, and what was recorded of it, survives one ESTALE from any call."""
    for number in range(1, 200):
        folder = tmp_path / str(number)
        before = open_store(folder)
        before.create_run_log(RUN, parameters={"p": 1})
        before.add_step_log(RUN, step("a"))
        calls = FaultySyscalls(errno.ESTALE)
        store = open_store(folder, syscalls=calls, find_mount=lambda _: CIFS)
        store.add_step_log(RUN, step("c"))  # some folders and files are open
        calls.counted, calls._at = 0, number
        OPERATIONS[name](store)
        assert name == "delete_run" or {"a", "c"} <= set(before.get_run_log(RUN).steps), calls.failed
        if not calls.failed:
            break
    else:
        pytest.fail("there was no end")


@_stores
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_server_has_forgotten_for_good_is_an_error_that_says_where(tmp_path, open_store, name):
    before = open_store(tmp_path)
    before.create_run_log(RUN)
    before.add_step_log(RUN, step("a"))
    calls = FaultySyscalls(errno.ESTALE, at=1, persistent=True)
    with pytest.raises(ChunkstoreError, match=f"{tmp_path}"):
        OPERATIONS[name](open_store(tmp_path, syscalls=calls, find_mount=lambda _: CIFS))
    assert list(before.get_run_log(RUN).steps) == ["a"]


def test_when_a_run_was_heard_last_the_times_of_a_file_that_was_only_being_made_do_not_tell(tmp_path):
    """An NFS server keeps in them who makes it; should that one be killed, they may be those of the year 2038."""
    store = journal(tmp_path)
    store.create_run_log(RUN)
    made = tmp_path / "logs" / RUN / "Journal-1-1700000000000000000.jsonl"
    made.touch()
    os.utime(made, (2**31 - 1, 2**31 - 1))
    assert parse_time(store.liveness(RUN).last_heard).timestamp() <= time.time()


# --- who holds a file together ----------------------------------------------------------------------------------------


def test_on_a_file_server_processes_that_join_a_run_add_their_lines_one_after_the_other(tmp_path):
    """Else each would write where it remembers the end to be, over the line of another host."""

    class Alone(Syscalls):
        checked = 0

        def write(self, fd, data):
            other = os.open(tmp_path / ".joined", os.O_RDWR)
            assert not lock_range(other, held._APPENDING, 1)
            os.close(other)
            self.checked += 1
            return super().write(fd, data)

    syscalls = Alone()
    file = held.JoinedFile(Folder(syscalls, str(tmp_path), memory=memory_of(CIFS)), ".joined", b"{}", lambda: False)
    file.release()
    assert syscalls.checked == 2


def test_what_a_holder_says_of_itself_is_sent_to_the_server_before_it_counts(tmp_path):
    calls = CountingSyscalls()
    folder = Folder(calls, str(tmp_path), memory=memory_of(CIFS))
    kept = held.HeldFile(folder, ".owner", b"{}"), held.JoinedFile(folder, ".joined", b"{}")
    assert calls.counts["flush"] == 2
    del kept


def test_whether_a_holder_lives_is_asked_of_the_server_also_where_it_may_not_be_written(tmp_path):
    opened = []

    class OfANetwork(Syscalls):
        def open(self, path, flags, dir_fd=None):
            if path == ".owner":
                opened.append(flags)
                if flags & os.O_RDWR:
                    raise OSError(errno.EROFS, "read-only")
            return super().open(path, flags & ~os.O_DIRECT, dir_fd)

    holder = held.HeldFile(Folder(Syscalls(), str(tmp_path)), ".owner", b"{}")
    found = held.holder(Folder(OfANetwork(), str(tmp_path), memory=memory_of(NFS)), ".owner")
    assert (found.data, found.is_alive) == (b"{}", True)
    assert all(flags & os.O_DIRECT for flags in opened)
    holder.abandon()
    found = held.holder(Folder(OfANetwork(), str(tmp_path), memory=memory_of(NFS)), ".owner")
    assert (found.data, found.is_alive) == (b"{}", False)

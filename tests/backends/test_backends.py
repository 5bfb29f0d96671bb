"""Every verb of every backend is all or nothing, and a new name never replaces an old file."""

import errno
import itertools
import os

import pytest
from descriptors import leading_into
from processes import fork_and_wait

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.memory import MemoryBackend
from chunkstore.clock import clock
from chunkstore.records.models import StepLog
from chunkstore.testing.faults import CountingSyscalls, FaultySyscalls

FOLDER = "run"


@pytest.fixture(params=["memory", "unnamed files", "hard links", "no links", "no links and renames that replace"])
def backend(request, tmp_path, monkeypatch):
    if request.param == "memory":
        backend = MemoryBackend()
    else:
        if request.param != "unnamed files":
            monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
        if request.param.startswith("no links"):
            without(monkeypatch, "has_hard_links")
        if request.param.endswith("that replace"):
            without(monkeypatch, "has_exclusive_renames")
        backend = DirectoryBackend(tmp_path / "logs")
    backend.create_folder(FOLDER, {"first": b"1", "last": b"2"})
    return backend


def without(monkeypatch, ability):
    original = Folder.__init__

    def init(folder, *arguments, **options):
        original(folder, *arguments, **options)
        setattr(folder, ability, False)

    monkeypatch.setattr(Folder, "__init__", init)


def content(backend, folder=FOLDER):
    with backend.reader(folder) as reader:
        return {name: reader.load(name) for name in reader.names() if name != ".lock"}


def test_publishing_never_replaces_what_is_there(backend):
    backend.publish(FOLDER, "new", b"old")
    for data in (b"newer", b""):
        with pytest.raises(FileExistsError):
            backend.publish(FOLDER, "new", data)
    with pytest.raises(FileExistsError):
        backend.publish(FOLDER, "first", b"newer")
    assert content(backend) == {"first": b"1", "last": b"2", "new": b"old"}


def test_replacing_makes_or_replaces_the_whole_file(backend):
    backend.replace(FOLDER, "new", b"long content")
    backend.replace(FOLDER, "new", b"short")
    assert content(backend)["new"] == b"short"


def test_appending_adds_at_the_end(backend):
    backend.publish(FOLDER, "lines", b"a\n")
    backend.append(FOLDER, "lines", b"b\n")
    assert backend.load(FOLDER, "lines") == b"a\nb\n"


def test_appending_makes_no_file(backend):
    with pytest.raises(FileNotFoundError):
        backend.append(FOLDER, "lines", b"a\n")
    assert "lines" not in content(backend)


def test_a_file_is_removed_only_if_it_is_unchanged(backend):
    backend.publish(FOLDER, "file", b"new")
    assert not backend.remove_unchanged(FOLDER, "file", b"old")
    assert content(backend)["file"] == b"new"
    assert backend.remove_unchanged(FOLDER, "file", b"new")
    assert backend.remove_unchanged(FOLDER, "file", b"new"), "it is gone already"
    assert "file" not in content(backend)


def test_a_file_that_was_put_back_is_removed_all_the_same(tmp_path):
    """Whoever put it back was killed before it took the other name away."""
    backend = DirectoryBackend(tmp_path)
    backend.create_folder(FOLDER, {"file": b"content"})
    os.link(tmp_path / FOLDER / "file", tmp_path / FOLDER / ".aside-file")
    assert backend.remove_unchanged(FOLDER, "file", b"content")
    assert content(backend) == {}
    assert os.listdir(tmp_path / FOLDER) == []


def test_a_file_that_is_appended_to_is_removed_only_if_nothing_was_added(backend):
    journal = backend.begin_journal(FOLDER, "lines")
    journal.append(b"a\n")
    assert not backend.remove_complete(FOLDER, "lines", 1)
    journal.append(b"b\n")
    assert backend.load(FOLDER, "lines") == b"a\nb\n"
    assert backend.remove_complete(FOLDER, "lines", 4)
    assert backend.remove_complete(FOLDER, "lines", 4), "it is gone already"
    with pytest.raises(FileNotFoundError):
        journal.append(b"c\n")
    assert "lines" not in content(backend)


def test_a_journal_is_a_new_file(backend):
    backend.publish(FOLDER, "lines", b"a\n")
    with pytest.raises(FileExistsError):
        backend.begin_journal(FOLDER, "lines")
    with pytest.raises(FileNotFoundError):
        backend.begin_journal("nowhere", "lines")
    assert backend.load(FOLDER, "lines") == b"a\n"


def test_a_part_of_a_file_is_read(backend):
    backend.publish(FOLDER, "file", [b"0123", b"", b"456789"])
    with backend.reader(FOLDER) as reader:
        assert reader.size("file") == 10
        assert [reader.load_part("file", start, 4) for start in (0, 3, 8, 10)] == [b"0123", b"3456", b"89", b""]
        with pytest.raises(FileNotFoundError):
            reader.load_part("missing", 0, 1)
        with pytest.raises(FileNotFoundError):
            reader.size("missing")


def test_a_folder_is_created_once_with_all_its_files(backend):
    with pytest.raises(FileExistsError):
        backend.create_folder(FOLDER, {"first": b"other", "last": b"other"})
    assert content(backend) == {"first": b"1", "last": b"2"}
    assert list(backend.folders()) == [FOLDER]


def test_what_is_not_there_is_not_found(backend):
    with pytest.raises(FileNotFoundError):
        backend.load(FOLDER, "missing")
    with pytest.raises(FileNotFoundError):
        backend.remove(FOLDER, "missing")
    for verb in (backend.publish, backend.replace, backend.append):
        with pytest.raises(FileNotFoundError):
            verb("nowhere", "file", b"")
    with pytest.raises(FileNotFoundError):
        backend.remove_folder("nowhere")
    with pytest.raises(FileNotFoundError):
        backend.sync("nowhere")
    assert list(backend.folders()) == [FOLDER]


def test_a_removed_folder_is_gone_and_can_be_made_again(backend):
    backend.publish(FOLDER, "new", b"old")
    backend.remove_folder(FOLDER)
    assert list(backend.folders()) == []
    with pytest.raises(FileNotFoundError):
        backend.publish(FOLDER, "late", b"")
    backend.create_folder(FOLDER, {"last": b"again"})
    assert content(backend) == {"last": b"again"}
    backend.remove(FOLDER, "last")
    assert content(backend) == {}


def test_a_handle_of_a_removed_folder_is_not_written_to(tmp_path):
    one, other = DirectoryBackend(tmp_path), DirectoryBackend(tmp_path)
    one.create_folder(FOLDER, {"last": b"old"})
    one.publish(FOLDER, "file", b"old")
    other.remove_folder(FOLDER)
    other.create_folder(FOLDER, {"last": b"new"})
    one.publish(FOLDER, "file", b"new")
    assert content(other) == {"last": b"new", "file": b"new"}


@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
@pytest.mark.parametrize("unnamed", [True, False])
def test_a_run_that_exists_is_never_replaced_by_a_new_one(tmp_path, monkeypatch, store_type, unnamed):
    if not unnamed:
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    store = chunkstore.open_store(store_type, log_folder=tmp_path)
    store.create_run_log("run", tag="first")
    with pytest.raises(FileExistsError):
        chunkstore.open_store(store_type, log_folder=tmp_path).create_run_log("run", tag="second")
    assert store.get_run_log("run").tag == "first"


@pytest.mark.parametrize("unnamed", [True, False])
def test_two_chunks_of_the_same_nanosecond_are_both_kept(tmp_path, monkeypatch, unnamed):
    if not unnamed:
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    numbers = itertools.count(10**18)
    repeated = itertools.chain([next(numbers)], [10**18], numbers)
    stores = [chunkstore.open_store("chunked-fs", log_folder=tmp_path) for _ in range(2)]
    stores[0].create_run_log("run")
    monkeypatch.setattr(clock, "tick", lambda: next(repeated))
    for store, message in zip(stores, ("first", "second"), strict=True):
        store.add_step_log("run", StepLog(name="s", internal_name="s", message=message))
    assert sorted(path.name for path in (tmp_path / "run").glob("StepLog-*")) == [
        f"StepLog-s-{10**18}.json",
        f"StepLog-s-{10**18 + 1}.json",
    ]
    assert stores[0].get_step_log("run", "s").message == "second"


def test_a_link_whose_answer_was_lost_is_no_clash(tmp_path, monkeypatch):
    """A file server repeats the call, and then finds the name that it has made itself."""
    monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    syscalls = FaultySyscalls(errno.EEXIST, at=1, only=("link",), late=True)
    backend = DirectoryBackend(tmp_path, syscalls=syscalls)
    backend.create_folder(FOLDER, {"last": b""})
    backend.publish(FOLDER, "file", b"data")
    assert syscalls.failed
    assert content(backend) == {"last": b"", "file": b"data"}


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL], ids=errno.errorcode.get)
def test_a_file_system_without_unnamed_files_is_noticed_once(tmp_path, code):
    syscalls = FaultySyscalls(code)
    backend = DirectoryBackend(tmp_path, syscalls=syscalls)
    backend.create_folder(FOLDER, {"last": b""})
    backend.publish(FOLDER, "before", b"1")
    syscalls._only, syscalls.counted, syscalls._at = {"create"}, 0, 1
    backend.publish(FOLDER, "noticed", b"2")
    backend.publish(FOLDER, "after", b"3")
    assert len(syscalls.failed) == 1
    assert content(backend) == {"last": b"", "before": b"1", "noticed": b"2", "after": b"3"}


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_without_hard_links_is_noticed(tmp_path, monkeypatch, code):
    monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    syscalls = FaultySyscalls(code, at=1, persistent=True, only=("link",))
    backend = DirectoryBackend(tmp_path, syscalls=syscalls)
    backend.create_folder(FOLDER, {"last": b""})
    backend.publish(FOLDER, "one", b"1")
    backend.publish(FOLDER, "two", b"2")
    with pytest.raises(FileExistsError):
        backend.publish(FOLDER, "two", b"3")
    assert content(backend) == {"last": b"", "one": b"1", "two": b"2"}


def test_temporary_files_are_never_listed(tmp_path):
    backend = DirectoryBackend(tmp_path)
    backend.create_folder(FOLDER, {"last": b""})
    (tmp_path / FOLDER / ".tmp-1-a-0").write_text("half")
    (tmp_path / ".tmp-1-a-1").mkdir()
    (tmp_path / ".deleted-1-a-2").mkdir()
    assert content(backend) == {"last": b""}
    assert list(backend.folders()) == [FOLDER]


def test_temporary_files_lie_in_the_folder_of_the_file_that_they_become(tmp_path, monkeypatch):
    monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    syscalls = CountingSyscalls()
    backend = DirectoryBackend(tmp_path / "logs", syscalls=syscalls)
    backend.create_folder(FOLDER, {"last": b""})
    backend.publish(FOLDER, "new", b"")
    backend.replace(FOLDER, "new", b"")
    made = [call.target for call in syscalls.calls if call.name == "create"]
    assert len(made) == 3
    assert [os.path.dirname(name) for name in made] == [""] * 3  # relative to the folder
    assert sorted(os.listdir(tmp_path / "logs" / FOLDER)) == ["last", "new"]
    made = [call.target for call in syscalls.calls if call.name == "mkdir"]
    assert {os.path.dirname(path) for path in made} <= {str(tmp_path), str(tmp_path / "logs")}


def test_processes_of_one_id_have_temporary_names_of_their_own():
    """Containers all run as process 1."""
    assert type(temporary_names)().next() != type(temporary_names)().next()


def test_a_forked_child_has_temporary_names_of_its_own():
    reader, writer = os.pipe()
    assert fork_and_wait(lambda: os.write(writer, temporary_names.next().encode()))
    assert os.read(reader, 1_000).decode().rpartition("-")[0] != temporary_names.next().rpartition("-")[0]
    os.close(reader)
    os.close(writer)


class PartialListings(Syscalls):
    """Lists folders as a busy file system may: each listing lacks something, as `missing` says for its number.

    Attributes:
        listings: how many there were so far.
        opened: descriptors that were opened since, and not listed yet.
    """

    def __init__(self, missing):
        self._missing = missing
        self.listings = 0
        self.opened = set()

    def open(self, path, flags, dir_fd=None):
        fd = super().open(path, flags, dir_fd)
        self.opened.add(fd)
        return fd

    def list(self, fd):
        return [name for name, _ in self.scan(fd)]

    def scan(self, fd):
        assert fd in self.opened, "this descriptor was listed before"
        self.opened.discard(fd)
        self.listings += 1
        return [entry for entry in super().scan(fd) if not self._missing(self.listings, entry[0])]


@pytest.mark.parametrize("to_load", [True, False])
@pytest.mark.parametrize(
    "missing",
    [
        lambda number, name: number == 1 and name == "a",
        lambda number, name: number > 1 and name == "a",
        lambda number, name: name == ("a", "b", "c")[number % 3],
    ],
    ids=["first", "later", "each"],
)
def test_a_name_that_some_listings_of_a_changing_folder_lack_is_found(tmp_path, monkeypatch, missing, to_load):
    monkeypatch.setattr("chunkstore.backends.disk.folder._QUIET_NS", 10**18)  # every folder has just changed
    DirectoryBackend(tmp_path).create_folder(FOLDER, {"a": b"", "b": b"", "c": b""})
    syscalls = PartialListings(missing)
    with DirectoryBackend(tmp_path, syscalls=syscalls).reader(FOLDER) as reader:
        assert sorted(reader.names(to_load=to_load)) == ["a", "b", "c"]
    assert syscalls.listings > 1


def test_a_listing_of_a_folder_at_rest_is_not_repeated(tmp_path):
    DirectoryBackend(tmp_path).create_folder(FOLDER, {"a": b""})
    os.utime(tmp_path / FOLDER, (1, 1))
    syscalls = PartialListings(lambda *_: False)
    with DirectoryBackend(tmp_path, syscalls=syscalls).reader(FOLDER) as reader:
        assert reader.names() == ["a"]
    assert syscalls.listings == 1


class ShortReads(Syscalls):
    """Reads a few bytes at a time."""

    def read(self, fd, size):
        return super().read(fd, min(size, 3))


def test_a_read_that_gives_a_part_is_continued(tmp_path):
    data = bytes(range(256)) * 5
    backend = DirectoryBackend(tmp_path, syscalls=ShortReads())
    backend.create_folder(FOLDER, {"file": data})
    assert content(backend) == {"file": data}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs a list of open descriptors")
@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_descriptors_do_not_grow_with_the_runs_that_were_used(tmp_path, store_type):
    store = chunkstore.open_store(store_type, log_folder=tmp_path)
    counts = []
    for number in range(220):
        store.create_run_log(f"run-{number}")
        store.set_parameters(f"run-{number}", {"a": 1})  # opens the folder and its lock
        assert store.get_parameters(f"run-{number}") == {"a": 1}
        counts.append(len(leading_into(tmp_path)))
    assert 0 < max(counts[-20:]) <= max(counts[:180])


def test_a_file_that_a_server_forgot_while_it_was_replaced_is_read_again(tmp_path):
    DirectoryBackend(tmp_path).create_folder(FOLDER, {"file": b"data"})
    for call in ("open", "read"):
        syscalls = FaultySyscalls(errno.ESTALE, only=(call,))
        with DirectoryBackend(tmp_path, syscalls=syscalls).reader(FOLDER) as reader:
            syscalls.counted, syscalls._at = 0, 1
            assert reader.load("file") == b"data"
        assert len(syscalls.failed) == 1


def test_a_file_whose_removal_was_done_and_said_to_be_refused_is_removed(tmp_path):
    syscalls = FaultySyscalls(errno.EACCES, at=1, only=("unlink",), late=True)
    backend = DirectoryBackend(tmp_path, syscalls=syscalls)
    backend.create_folder(FOLDER, {"a": b"", "b": b""})
    backend.remove_folder(FOLDER)
    assert len(syscalls.failed) == 1
    assert os.listdir(tmp_path) == []

"""A lock keeps everybody else out, says who holds it, and is free when its holder is gone."""

import os
import threading
import time

import pytest
from processes import Forked, run_processes

from chunkstore.backends.disk import locks
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.memory import MemoryBackend
from chunkstore.errors import LockTimeoutError, StoreIOError, StoreUsageError
from chunkstore.testing.suite_sharing import run_threads

FOLDER, FILE = "run", ".lock"
_SHORT = 0.05


def backend_in(path, **options):
    backend = DirectoryBackend(path, **{"lock_timeout": _SHORT, **options})
    try:
        backend.create_folder(FOLDER, {"RunLog.json": b"{}"})
    except FileExistsError:
        pass
    return backend


@pytest.fixture
def backend(tmp_path):
    return backend_in(tmp_path / "logs")


@pytest.fixture(params=["directory", "memory"])
def any_backend(request, backend):
    if request.param == "directory":
        return backend
    memory = MemoryBackend(lock_timeout=_SHORT)
    memory.create_folder(FOLDER, {})
    return memory


def hold(backend):
    def work(say):
        with backend.lock(FOLDER, FILE):
            say("held")
            time.sleep(60)

    return work


def test_a_timeout_names_the_file_and_the_holder(tmp_path, backend):
    with Forked(hold(backend)) as child:
        child.wait_for_line()
        with pytest.raises(LockTimeoutError) as caught, backend.lock(FOLDER, FILE):
            pass
        error = caught.value
        assert error.file == str(tmp_path / "logs" / FOLDER / FILE)
        assert (error.timeout, error.holder) == (_SHORT, child.pid)
        for word in (error.file, f"process {child.pid}", "0.05 seconds", "lock_timeout"):
            assert word in str(error)
        assert isinstance(error, TimeoutError)
        child.kill()
        with backend.lock(FOLDER, FILE):
            pass


def test_a_thread_that_holds_the_lock_too_long_is_waited_for_as_long(any_backend):
    held, done = threading.Event(), threading.Event()

    def work():
        with any_backend.lock(FOLDER, FILE):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    held.wait(10)
    with pytest.raises(LockTimeoutError) as caught, any_backend.lock(FOLDER, FILE):
        pass
    assert caught.value.holder == os.getpid()
    done.set()
    thread.join()
    with any_backend.lock(FOLDER, FILE):
        pass


def test_a_thread_that_waited_in_vain_keeps_no_other_out(tmp_path, backend):
    with backend_in(tmp_path / "logs").lock(FOLDER, FILE), pytest.raises(LockTimeoutError), backend.lock(FOLDER, FILE):
        pass

    def work():
        with backend.lock(FOLDER, FILE):
            return "locked"

    assert run_threads([work]) == ["locked"]
    assert work() == "locked"


def test_locking_twice_in_one_thread_is_refused_at_once(any_backend):
    with any_backend.lock(FOLDER, FILE):
        began = time.monotonic()
        refused = pytest.raises(StoreUsageError, match="change function must not call the store")
        with refused, any_backend.lock(FOLDER, FILE):
            pass
        assert time.monotonic() - began < _SHORT
    with any_backend.lock(FOLDER, FILE):
        pass


def test_an_exception_inside_frees_the_lock(any_backend):
    with pytest.raises(ZeroDivisionError), any_backend.lock(FOLDER, FILE):
        raise ZeroDivisionError
    with any_backend.lock(FOLDER, FILE):
        pass


def test_locks_of_different_files_do_not_meet(any_backend):
    with any_backend.lock(FOLDER, ".other"), any_backend.lock(FOLDER, FILE):
        pass


def test_a_lock_of_a_folder_that_is_not_there_is_not_found(any_backend):
    with pytest.raises(FileNotFoundError), any_backend.lock("nowhere", FILE):
        pass


def test_the_lock_file_is_never_data_and_never_removed(tmp_path, backend):
    with backend.lock(FOLDER, FILE):
        pass
    file = tmp_path / "logs" / FOLDER / FILE
    inode = file.stat().st_ino
    with backend_in(tmp_path / "logs").lock(FOLDER, FILE):
        assert file.stat().st_size == 0
    assert file.stat().st_ino == inode


def test_an_exception_in_a_forked_child_inside_the_lock_does_not_free_it(tmp_path, backend):
    pid = -1
    try:
        with backend.lock(FOLDER, FILE):
            pid = os.fork()
            if pid == 0:
                raise KeyboardInterrupt  # leaves the block in the child alone
            os.waitpid(pid, 0)
            with pytest.raises(LockTimeoutError), backend_in(tmp_path / "logs").lock(FOLDER, FILE):
                pass
    finally:
        if pid == 0:
            os._exit(0)


def test_a_lock_file_that_somebody_removed_keeps_nobody_in(tmp_path, backend):
    """Whoever waited for the old file must not hold a second lock beside the holder of the new one."""
    file = tmp_path / "logs" / FOLDER / FILE
    with backend.lock(FOLDER, FILE):
        pass
    file.unlink()
    with backend.lock(FOLDER, FILE):
        assert file.exists()
        with pytest.raises(LockTimeoutError), backend_in(tmp_path / "logs").lock(FOLDER, FILE):
            pass


def test_a_file_system_without_locks_is_refused_and_not_ignored(backend, monkeypatch):
    def no_locks(_fd, *, blocking):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks, "lock_descriptor", no_locks)
    with pytest.raises(StoreIOError, match="no working locks") as caught, backend.lock(FOLDER, FILE):
        pass
    assert caught.value.errno == 38


def count_up(path, times):
    backend = backend_in(path, lock_timeout=60)
    file = os.path.join(path, FOLDER, "counter")
    for _ in range(times):
        with backend.lock(FOLDER, FILE):
            with open(file) as reader:
                number = int(reader.read())
            with open(file, "w") as writer:
                writer.write(str(number + 1))


@pytest.mark.thorough
def test_processes_keep_each_other_out(tmp_path):
    path = str(tmp_path / "logs")
    backend_in(path)
    (tmp_path / "logs" / FOLDER / "counter").write_text("0")
    run_processes(count_up, [(path, 500)] * 8)
    assert (tmp_path / "logs" / FOLDER / "counter").read_text() == "4000"

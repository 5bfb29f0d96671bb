"""Whoever waits for a lock comes before those who have had it since, and delays nobody who could have it."""

import os
import signal
import threading
import time

import pytest
from processes import Forked

from chunkstore.backends.disk import lock_turns
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.range_locks import ARE_THERE, locked_range

FOLDER, FILE = "run", ".lock"
_LONG = 20.0

pytestmark = pytest.mark.skipif(not ARE_THERE, reason="this platform has no locks that can be looked at")


def backend_in(path):
    backend = DirectoryBackend(path, lock_timeout=_LONG)
    try:
        backend.create_folder(FOLDER, {"RunLog.json": b"{}"})
    except FileExistsError:
        pass
    return backend


@pytest.fixture
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_turns, "has_turns", lambda _fd, _location: True)
    monkeypatch.setattr("chunkstore.backends.disk.locks.has_turns", lambda _fd, _location: True)
    return tmp_path / "logs"


def wait_until_somebody_comes_next(logs):
    fd = os.open(logs / FOLDER / FILE, os.O_RDWR)
    try:
        deadline = time.monotonic() + _LONG
        while locked_range(fd, lock_turns._PLACE, 1) is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        os.close(fd)


def test_who_waits_comes_before_the_one_who_has_just_had_the_lock(logs, monkeypatch):
    monkeypatch.setattr(lock_turns, "_PATIENCE", _LONG)
    had = []

    def wait(name):
        with backend_in(logs).lock(FOLDER, FILE):
            had.append(name)

    busy = backend_in(logs)
    for number in range(20):
        with busy.lock(FOLDER, FILE):
            waiter = threading.Thread(target=wait, args=(number,))
            waiter.start()
            wait_until_somebody_comes_next(logs)
        with busy.lock(FOLDER, FILE):
            assert had[-1:] == [number]
        waiter.join()


def test_one_who_is_stopped_while_he_waits_keeps_nobody_out(logs):
    def wait(say):
        say("waiting")
        with backend_in(logs).lock(FOLDER, FILE):
            pass
        time.sleep(_LONG)

    backend = backend_in(logs)
    with backend.lock(FOLDER, FILE):
        child = Forked(wait)
        child.__enter__()
        child.wait_for_line()
        wait_until_somebody_comes_next(logs)
        os.kill(child.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            with backend.lock(FOLDER, FILE):
                pass
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.__exit__(None, None, None)


def test_one_who_is_killed_while_he_waits_leaves_nothing(logs):
    def wait(say):
        say("waiting")
        with backend_in(logs).lock(FOLDER, FILE):
            pass

    backend = backend_in(logs)
    with backend.lock(FOLDER, FILE), Forked(wait) as child:
        child.wait_for_line()
        wait_until_somebody_comes_next(logs)
        child.kill()
        fd = os.open(logs / FOLDER / FILE, os.O_RDWR)
        assert locked_range(fd, lock_turns._PLACE, 1) is None
        os.close(fd)


def test_there_are_no_turns_where_it_is_not_known_that_locks_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_turns, "_known", {})
    monkeypatch.setattr(lock_turns, "mount_of", lambda _path: None)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert not lock_turns.has_turns(fd, str(tmp_path))
    finally:
        os.close(fd)

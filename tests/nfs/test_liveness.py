"""Whoever looks from another host knows whether the owner of a run lives, and is sure when it was killed."""

import os
import signal
import time
from contextlib import ExitStack

import pytest
from processes import Forked

import chunkstore
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.freshness import memory_at
from chunkstore.backends.disk.held import JoinedFile, joined
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.stores.runs.liveness import LIVE, LOST, Owner


def files(folder):
    return chunkstore.open_store("chunked-fs", log_folder=str(folder / "logs"))


def document(folder):
    return chunkstore.open_store("file-system", log_folder=str(folder / "logs"))


_stores = pytest.mark.parametrize("open_store", [files, document])


@_stores
def test_an_owner_on_another_host_is_live_until_it_is_killed(folders, open_store):
    here, there = folders

    def record(say):
        run = open_store(here).start_run("run")
        say(f"recording {run.run_id}")
        signal.pause()

    with Forked(record) as owner:
        owner.wait_for_line()
        seen = [open_store(folder).liveness("run") for folder in (there, here, there)]
        pid = owner.pid
        owner.kill()
    assert [(found.state, found.pid) for found in seen] == [(LIVE, pid)] * 3
    assert [open_store(folder).liveness("run").state for folder in (there, here)] == [LOST, LOST]


@_stores
def test_one_that_goes_on_after_its_lock_was_looked_at_is_live_again(folders, open_store):
    here, there = folders
    open_store(here).create_run_log("run")
    reader = open_store(there)

    def hold(say):
        release = open_store(here).hold("run")
        say("held")
        signal.pause()
        release()

    for _ in range(2):
        with Forked(hold) as owner:
            owner.wait_for_line()
            assert reader.liveness("run").state == LIVE
            owner.kill()
        assert reader.liveness("run").state == LOST


def test_processes_that_joined_are_live_until_the_last_is_killed(folders):
    here, there = folders
    files(here).create_run_log("run")
    reader = files(there)

    def join(say):
        release = files(here).hold("run", joined=True)
        say("joined")
        signal.pause()
        release()

    with Forked(join) as first:
        first.wait_for_line()
        assert reader.liveness("run").state == LIVE
        with Forked(join) as second:
            second.wait_for_line()
            assert reader.liveness("run").state == LIVE
            second.kill()
        assert reader.liveness("run").state == LIVE
        first.kill()
    assert reader.liveness("run").state != LIVE


def test_who_may_not_write_knows_as_well(folders):
    here, there = folders

    def record(say):
        run = files(here).start_run("run")
        say(f"recording {run.run_id}")
        signal.pause()

    def look(say):
        os.setuid(65_534)
        say(files(there).liveness("run").state)

    with Forked(record) as owner:
        owner.wait_for_line()
        os.chmod(here, 0o755)
        for path in (here / "logs", *(here / "logs").rglob("*")):
            os.chmod(path, 0o755 if path.is_dir() else 0o644)
        with Forked(look) as looker:
            assert looker.wait_for_line() == LIVE
        owner.kill()
    with Forked(look) as looker:
        assert looker.wait_for_line() == LOST


def test_processes_of_several_hosts_that_join_at_once_are_all_known(folders, tmp_path):
    go = tmp_path / "go"
    each = 40

    def join(folder):
        def hold(say):
            opened = Folder(SYSTEM, str(folder), memory=memory_at(str(folder)))
            say("ready")
            while not go.exists():
                time.sleep(1e-4)
            held = [JoinedFile(opened, ".joined", b'{"pid":%d}' % number) for number in range(each)]
            say("joined")
            signal.pause()
            del held

        return hold

    with ExitStack() as stack:
        holders = [stack.enter_context(Forked(join(folder))) for folder in folders]
        for holder in holders:
            holder.wait_for_line()
        go.touch()
        for holder in holders:
            holder.wait_for_line()
        for folder in folders:
            found = joined(Folder(SYSTEM, str(folder), memory=memory_at(str(folder))), ".joined")
            numbers = sorted(Owner.read(who).pid for who in found.living)
            assert numbers == sorted([*range(each), *range(each)])

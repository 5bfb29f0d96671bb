"""Runs of many chunks are sealed when they finish, if that is asked for, and finish all the same if that fails."""

import errno
import itertools
import logging
import shutil

import pytest

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import StoreFullError
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import FaultySyscalls
from stores.sealing.sealed_runs import RUN, finish, opened, step


@pytest.mark.parametrize(("most", "is_sealed"), [(None, False), (4, False), (3, True), (0, True)])
@pytest.mark.parametrize("container", ["files", "journal"])
def test_runs_of_more_chunks_than_configured_are_sealed_when_they_finish(logs, folder, most, is_sealed, container):
    store = opened(logs, seal_finished_runs=most, container=container)
    store.create_run_log(RUN, parameters={"a": 1})
    for number in range(3):
        store.add_step_log(RUN, step(f"s{number}"))
    store.update_run_log(RUN, lambda log: setattr(log, "tag", "t"))
    assert not folder.sealed()
    finish(store, "FAIL")
    assert bool(folder.sealed()) == is_sealed
    log = store.get_run_log(RUN, strict=True)
    assert (log.status, list(log.steps), log.parameters) == ("FAIL", ["s0", "s1", "s2"], {"a": 1})
    store.add_step_log(RUN, step("late"))
    finish(store)  # it has finished before
    assert len(folder.sealed()) == is_sealed


def test_a_recorded_run_is_sealed_when_it_is_left(logs, folder):
    store = opened(logs, seal_finished_runs=0, catalog_folder=str(logs / ".catalog"))
    with store.start_run(RUN) as run, run.step("one") as one:
        one.log_metric("loss", 1.0, step=1)
    assert folder.sealed()
    log = store.get_run_log(RUN, strict=True)
    assert log.status == "SUCCESS"
    assert log.steps["one"].metric_series["loss"][0].value == 1.0


def test_a_run_that_cannot_be_sealed_has_finished_all_the_same(logs, folder, caplog):
    for number in itertools.count(1):
        shutil.rmtree(logs, ignore_errors=True)
        syscalls = FaultySyscalls(errno.ENOSPC, persistent=True, only=("create", "write"))
        options = chunkstore.StoreOptions(seal_finished_runs=0)
        store = ChunkedStore(DirectoryBackend(logs, syscalls=syscalls), options)
        store.create_run_log(RUN)
        store.add_step_log(RUN, step("s"))
        syscalls.counted, syscalls._at = 0, number
        caplog.clear()
        try:
            with caplog.at_level(logging.WARNING, "chunkstore"):
                finish(store)
        except StoreFullError:
            continue  # the status itself could not be written
        syscalls.heal()
        assert opened(logs).get_run_log(RUN, strict=True).status == "SUCCESS"
        if not syscalls.failed:
            break
        assert not folder.sealed()
        assert "not sealed" in caplog.text
    assert number > 3
    assert folder.sealed()

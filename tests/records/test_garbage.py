"""Collections that were put off come again, whatever happens."""

import gc
import os
import threading

import pytest

import chunkstore
from chunkstore.records.garbage import without_collections


def test_there_are_no_collections_meanwhile_and_again_afterwards():
    assert gc.isenabled()
    assert without_collections(gc.isenabled) is False
    assert gc.isenabled()


def test_an_error_gives_them_back():
    with pytest.raises(KeyError):
        without_collections(lambda: {}["missing"])
    assert gc.isenabled()


def test_whoever_has_turned_them_off_keeps_them_off():
    gc.disable()
    try:
        assert without_collections(lambda: 5) == 5
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_one_inside_another_gives_them_back_once():
    assert without_collections(lambda: without_collections(gc.isenabled)) is False
    assert gc.isenabled()


def test_a_child_that_another_thread_forks_meanwhile_has_them():
    begun, end = threading.Event(), threading.Event()

    def wait():
        begun.set()
        end.wait(20)

    thread = threading.Thread(target=without_collections, args=(wait,))
    thread.start()
    begun.wait(20)
    assert not gc.isenabled()
    child = os.fork()
    if child == 0:
        os._exit(0 if gc.isenabled() else 1)
    _, status = os.waitpid(child, 0)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert gc.isenabled()


def test_a_whole_run_is_read_without_them(tmp_path, monkeypatch):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path))
    store.create_run_log("run")
    store.add_step_log("run", chunkstore.StepLog(name="a", internal_name="a"))
    seen = []
    assemble = chunkstore.stores.reading.chunk_reader.assemble
    monkeypatch.setattr(
        "chunkstore.stores.reading.chunk_reader.assemble",
        lambda *parts: (seen.append(gc.isenabled()), assemble(*parts))[1],
    )
    assert list(store.get_run_log("run").steps) == ["a"]
    assert seen == [False]
    assert gc.isenabled()

"""What explores the states of a disk after a crash finds them all, and none that cannot be."""

import os
import threading

import pytest
from crashing import LAYOUTS, MANY, RUN, step

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.testing.crash_states import ANY_ORDER, IN_ORDER, MODELS, crash_states
from chunkstore.testing.disk_operations import Acknowledgement, Naming, TraceError, Writing
from chunkstore.testing.system_trace import record

pytestmark = pytest.mark.usefixtures("_strace")


def states_of(trace, model):
    return [(state.files, state.folders, state.acknowledged) for state in crash_states(trace, model, limit=MANY)]


def write(path, data, *, sync=False):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, data)
    if sync:
        os.fsync(fd)
    os.close(fd)


def sync_folder(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def test_bytes_and_name_of_a_new_file_may_each_be_missing(top):
    found = states_of(record(lambda _: write(top / "f", b"data"), top), ANY_ORDER)
    assert [files for files, _, _ in found] == [{}, {"f": b""}, {"f": b"data"}, {"f": b"da"}, {"f": bytes(4)}]


def test_a_synced_file_is_whole_or_has_no_name(top):
    def work(say):
        write(top / "f", b"data", sync=True)
        say("written")

    trace = record(work, top)
    for model in MODELS:
        written = [files for files, _, said in states_of(trace, model) if said]
        # A journal that brings the bytes along has the name before them.
        assert written == ([{}, {"f": b"data"}] if model == ANY_ORDER else [{"f": b"data"}])


def test_a_file_that_is_synced_with_its_folder_is_there(top):
    def work(say):
        write(top / "f", b"data", sync=True)
        sync_folder(top)
        say("written")

    trace = record(work, top)
    for model in MODELS:
        last = [files for files, _, said in states_of(trace, model) if said]
        assert last == [{"f": b"data"}]


def test_a_new_folder_that_is_not_synced_from_above_takes_its_files_with_it(top):
    def work(say):
        (top / "inner").mkdir()
        write(top / "inner" / "f", b"data", sync=True)
        sync_folder(top / "inner")
        say("written")

    trace = record(work, top)
    assert ({}, frozenset(), ("written",)) in states_of(trace, ANY_ORDER)
    # A journal has the folder's name before that of the file in it.
    assert ({}, frozenset(), ("written",)) not in states_of(trace, IN_ORDER)


def test_names_are_kept_in_order_by_a_journal_and_in_any_order_otherwise(top):
    def work(_):
        write(top / "f", b"")
        write(top / "g", b"")

    trace = record(work, top)
    assert {"g": b""} in [files for files, _, _ in states_of(trace, ANY_ORDER)]
    assert {"g": b""} not in [files for files, _, _ in states_of(trace, IN_ORDER)]


def test_a_renamed_file_replaces_the_other_whole_or_not_at_all(top):
    write(top / "f", b"old", sync=True)

    def work(_):
        write(top / "new", b"data", sync=True)
        os.rename(top / "new", top / "f")

    trace = record(work, top)
    for model in MODELS:
        assert {files["f"] for files, _, _ in states_of(trace, model)} == {b"old", b"data"}


def test_files_without_a_name_links_threads_and_children_are_followed(top):
    def work(say):
        folder = os.open(top, os.O_RDONLY)
        fd = os.open(top, os.O_TMPFILE | os.O_WRONLY)
        os.write(fd, b"un")

        def name():
            os.write(fd, b"named")
            os.link(f"/proc/self/fd/{fd}", "f", dst_dir_fd=folder, follow_symlinks=True)

        thread = threading.Thread(target=name)
        thread.start()
        thread.join()
        if os.fork() == 0:
            write(top / "g", b"child")
            say("child")
            os._exit(0)
        os.wait()
        os.unlink(top / "f")
        say("parent")

    trace = record(work, top)
    kinds = [type(operation) for operation in trace.operations if not isinstance(operation, Acknowledgement)]
    assert kinds == [Writing, Writing, Naming, Naming, Writing, Naming]
    found = states_of(trace, ANY_ORDER)
    assert ({"f": b"unnamed"}, frozenset(), ("child", "parent")) in found
    assert ({"g": b"child"}, frozenset(), ("child", "parent")) in found


def test_relative_paths_are_followed_from_wherever_a_process_is(top, monkeypatch):
    monkeypatch.chdir(top)

    def work(_):
        os.mkdir("inner")
        os.chdir("inner")
        write("f", b"")
        os.rename("f", "../g")
        folder = os.open("..", os.O_RDONLY)
        os.fchdir(folder)
        if os.fork() == 0:
            os.link("g", "h")
            os._exit(0)
        os.wait()

    (*_, (files, folders, _)) = states_of(record(work, top), ANY_ORDER)
    assert (files, folders) == ({"g": b"", "h": b""}, {"inner"})


def test_what_fails_while_it_is_recorded_is_an_error(top, capfd):
    def work(_):
        raise ValueError("no")

    with pytest.raises(TraceError):
        record(work, top)
    assert "ValueError: no" in capfd.readouterr().err


def test_a_call_that_is_not_followed_is_an_error_and_not_passed_over(top):
    def work(_):
        os.symlink("x", top / "link")

    with pytest.raises(TraceError, match="symlink"):
        record(work, top)


def test_a_store_reads_every_state_of_an_unfinished_run_and_reports_what_is_not_whole(top, disk):
    def work(say):
        store = LAYOUTS["chunked-fs"](DirectoryBackend(top / "logs", durability="process"))
        store.create_run_log(RUN)
        for number in range(3):
            store.add_step_log(RUN, step("s", number))
            store.add_step_log(RUN, step(f"s{number}", number))

    number = 0
    for state in crash_states(record(work, top), ANY_ORDER, limit=MANY):
        state.write_to(disk)
        store = chunkstore.open_store("chunked-fs", log_folder=str(disk / "logs"))
        for summary in store.list_runs():
            log = store.get_run_log(summary.run_id)
            broken = [name for name in state.files if name.endswith(".json") and not state.files[name].endswith(b"\n")]
            assert {problem.file for problem in log.problems} >= {os.path.basename(name) for name in broken}
            number += 1
    assert number > 100

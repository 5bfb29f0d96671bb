"""A map that is interrupted ends cleanly; a long one shows that it goes on, where somebody looks."""

import io
import itertools
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import process as process_module
from pathlib import Path

import pytest

from chunkstore.recording import progress as progress_module
from chunkstore.recording.dispatch import Dispatcher
from recording import work
from recording.pools import PROCESSES, pool

PROGRAM = """
import sys
import threading
from functools import partial
import chunkstore
from recording import work

store = chunkstore.open_store("chunked-fs", log_folder=sys.argv[1])
with store.start_run("run") as run:
    run.map("score", range(20), partial(work.wait_after_note, sys.argv[2]))
"""


def interrupt_after(count):
    """Yield items, then do what Ctrl-C does."""
    yield from range(count)
    raise KeyboardInterrupt


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["threads", *PROCESSES])
def test_an_interrupt_during_a_map_is_recorded_and_leaves_no_worker_behind(store, kind, children):
    with pytest.raises(KeyboardInterrupt), pool(kind) as executor, store.start_run("run") as run:
        run.map("score", interrupt_after(3), work.double, executor=executor)
    log = store.get_run_log("run", strict=True)
    assert (log.status, log.steps["score"].status) == ("FAIL", "FAIL")
    assert log.steps["score"].message == "KeyboardInterrupt"
    work.wait_for(lambda: not children())


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["fork", "loky"])
def test_an_interrupt_after_the_pool_was_renewed_leaves_no_worker_behind(store, kind, children):
    def items():
        yield from range(20)  # more than wait at once: some are asked for after the first worker's death
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), pool(kind) as executor, store.start_run("run") as run:
        run.map("score", items(), partial(work.die_for, (0,)), executor=executor, on_error="continue")
    assert store.get_run_log("run").status == "FAIL"
    work.wait_for(lambda: not children())


def interrupt_at(moment):
    """Do what Ctrl-C does at one of the moments at which Python looks for signals as it starts a process."""
    left, pid = itertools.count(moment, -1), os.getpid()

    def look(frame, event, _argument):
        is_starting = frame.f_code.co_name in {"start", "ident"}
        if os.getpid() != pid:
            sys.setprofile(None)
        elif not is_starting or frame.f_code.co_filename != process_module.__file__:
            return
        elif event in {"call", "c_return"} and next(left) == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(look)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a process that has half begun
def test_an_interrupt_while_workers_start_leaves_none_that_the_program_would_wait_for(store, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for moment in itertools.count():
        interrupted = False
        with store.start_run() as run:
            try:
                interrupt_at(moment)
                run.map("score", [1], abs)
            except KeyboardInterrupt:
                interrupted = True
            finally:
                sys.setprofile(None)
        work.wait_for(lambda: not multiprocessing.active_children())
        if not interrupted:
            break
    assert moment > 4


def test_an_error_just_after_a_look_at_what_has_ended_ends_the_map(store, monkeypatch):
    """It may come from the handler of a signal, when nobody has noted yet which branch that is."""
    look = Dispatcher._next_ended
    looks = itertools.count()

    def interrupted(self, **options):
        found = look(self, **options)
        if next(looks) == 0:
            raise TimeoutError("from a handler")
        return found

    monkeypatch.setattr(Dispatcher, "_next_ended", interrupted)
    errors = []

    def work_on_items():
        try:
            run.map("score", [1, 2], abs, executor=work.threads())
        except TimeoutError as error:
            errors.append(str(error))

    with store.start_run("run") as run:
        mapping = threading.Thread(target=work_on_items, daemon=True)
        mapping.start()
        mapping.join(10)
        assert errors == ["from a handler"]


def living(group):
    """Return the processes of a group that still live."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, _, its_group = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(name)
    return found


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_ends_a_program_in_the_middle_of_a_map(store, calls, whole_group):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, store.options.log_folder, calls],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        work.wait_for(lambda: work.noted(calls) or process.poll() is not None)
        if whole_group:  # as a terminal does
            os.killpg(process.pid, signal.SIGINT)
        else:  # as a batch system may do
            process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
        assert process.returncode != 0
        assert b"KeyboardInterrupt" in error
        work.wait_for(lambda: not living(process.pid))
    finally:
        if living(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    log = store.get_run_log("run", strict=True)
    assert (log.status, log.steps["score"].status) == ("FAIL", "FAIL")
    branches = log.steps["score"].branches.values()
    assert {branch.status for branch in branches} == {"FAIL"}
    if not whole_group:
        assert {branch.message for branch in branches} == {"interrupted: KeyboardInterrupt"}
    assert len(branches) < 20


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def impatient(monkeypatch):
    """Show the bar without waiting for a second."""
    monkeypatch.setattr(progress_module, "_DELAY", -1.0)
    monkeypatch.setattr(progress_module, "_REFRESH_INTERVAL", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def shown(store, monkeypatch, stream, function=work.double, **options):
    monkeypatch.setattr(sys, "stderr", stream)
    with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
        run.map("score", range(5), function, executor=executor, **options)
    return stream.getvalue()


def test_on_a_terminal_a_bar_shows_how_many_branches_have_ended(store, monkeypatch, impatient):
    text = shown(store, monkeypatch, Terminal())
    assert "score" in text
    assert "5/5" in text
    assert "failed" not in text


def test_the_bar_counts_failures(store, monkeypatch, impatient):
    assert "2 failed" in shown(store, monkeypatch, Terminal(), work.fail_for_odd, on_error="continue")


@pytest.mark.parametrize("name", ["move [/in] files", "[bold]x", "[red", ":smile:", "line\nbreak", "\x1b[2J", "back\\"])
def test_the_name_of_a_map_is_shown_as_it_is_whatever_it_holds(store, monkeypatch, impatient, name):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
        assert run.map(name, range(3), work.double, executor=executor) == [0, 2, 4]
    shown_name = name.replace("\n", "?").replace("\x1b", "?")
    assert f"{shown_name} " in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


def test_nothing_is_shown_where_nobody_looks(store, monkeypatch, impatient):
    assert shown(store, monkeypatch, io.StringIO()) == ""


def test_nothing_is_shown_for_a_map_that_is_done_at_once(store, monkeypatch):
    assert shown(store, monkeypatch, Terminal()) == ""


def test_nothing_is_shown_without_rich(store, monkeypatch, impatient):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert shown(store, monkeypatch, Terminal()) == ""


def test_nested_maps_show_no_bar_of_their_own(store, monkeypatch, impatient):
    text = shown(store, monkeypatch, Terminal(), work.nested)
    assert "middle" not in text
    assert "5/5" in text


def test_without_any_error_stream_a_map_runs(store, monkeypatch, impatient):
    monkeypatch.setattr(sys, "stderr", None)
    with store.start_run("run") as run, ThreadPoolExecutor(2) as executor:
        assert run.map("score", [1], work.double, executor=executor) == [2]


def test_a_bar_on_a_real_terminal_is_gone_at_the_end(tmp_path):
    program = (
        "from chunkstore.recording import progress\n"
        "progress._DELAY = progress._REFRESH_INTERVAL = -1.0\n"
        "import chunkstore, sys\n"
        "from recording import work\n"
        f"store = chunkstore.open_store('chunked-fs', log_folder={str(tmp_path / 'log')!r})\n"
        "with store.start_run() as run:\n"
        "    run.map('score', range(6), work.double)\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=theirs,
        stdout=theirs,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TERM": "xterm"},
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not block:
            break
        text += block
    os.close(ours)
    assert process.wait(20) == 0
    assert b"6/6" in text
    assert text.rstrip().endswith(b"\x1b[2K")  # the line is cleared


def test_a_function_that_interrupts_its_own_worker_fails_its_branch(store):
    with store.start_run("run") as run:
        result = run.map("score", [1, 2], partial(work.interrupt_for, 2), on_error="continue")
    assert result == [2, None]
    assert store.get_branch_log("run", "score.2").status == "FAIL"

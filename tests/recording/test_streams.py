"""Streams are the same objects while a step is recorded, and as they were after it."""

import contextlib
import io
import logging
import sys

import pytest

from recording import work
from recording.test_output import kept


def as_it_is(name):
    """Return a stream, and what it writes with if that is not its class's."""
    stream = getattr(sys, name)
    return stream, vars(stream).get("write")


def test_the_streams_are_restored_also_after_a_failure(store, monkeypatch):
    for name in ("stdout", "stderr"):  # with steps of other tests that were never left, those of the tests stay changed
        monkeypatch.setattr(sys, name, io.StringIO())
    before = (as_it_is("stdout"), as_it_is("stderr"))
    with store.start_run() as run:
        with run.step("outer"):
            with run.step("inner", on_error="continue"):
                assert as_it_is("stdout") != before[0]
                raise ValueError("gone")
            assert as_it_is("stdout") != before[0]
        assert (as_it_is("stdout"), as_it_is("stderr")) == before
        run.step("function", work.fail_always, on_error="continue", max_attempts=2, backoff=0)
    assert (as_it_is("stdout"), as_it_is("stderr")) == before


@pytest.mark.parametrize("attribute", ["encoding", "fileno", "isatty", "buffer"])
def test_the_stream_has_all_that_the_original_has(store, attribute):
    has = hasattr(sys.__stdout__, attribute)
    with store.start_run() as run, run.step("load"):
        assert hasattr(sys.stdout, attribute) == has


def test_bytes_are_refused_as_by_the_stream_itself(store):
    with store.start_run("run") as run, run.step("load"), pytest.raises(TypeError):
        sys.stdout.write(b"bytes")


def test_streams_are_as_before_whichever_way_they_were_redirected_around_steps(store):
    before = sys.stdout
    first, second = io.StringIO(), io.StringIO()
    with store.start_run("run") as run:
        with run.step("outer"):
            with contextlib.redirect_stdout(first):
                with run.step("inner"):
                    print("to the first")
                assert sys.stdout is first
            print("to the terminal")
        assert sys.stdout is before
        step = run.step("ends before the redirection does")
        with contextlib.ExitStack() as stack:
            step.__enter__()
            stack.enter_context(contextlib.redirect_stdout(second))
            print("to the second")
            step.__exit__(None, None, None)
        with run.step("later"):
            print("kept")
        assert sys.stdout is before
    assert (first.getvalue(), second.getvalue()) == ("to the first\n", "to the second\n")
    assert [kept(run, name) for name in ("outer", "inner", "later")] == [
        "to the terminal\n",
        "to the first\n",
        "kept\n",
    ]


def test_a_redirection_that_outlives_its_step_puts_back_what_was_there(store):
    before = (as_it_is("stdout"), as_it_is("stderr"))
    with store.start_run("run") as run, contextlib.ExitStack() as stack:
        with run.step("first"):
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        with run.step("second"):
            stack.close()
    assert (as_it_is("stdout"), as_it_is("stderr")) == before


@pytest.mark.parametrize("kept_in", ["outer", "inner"])
def test_one_stream_may_stand_for_both(store, monkeypatch, capsys, kept_in):
    before = as_it_is("stdout")
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    with store.start_run("run") as run, contextlib.ExitStack() as stack:
        for step in ("outer", "inner")[: 1 + (kept_in == "inner")]:
            stack.enter_context(run.step(step))
        print("out")
        print("err", file=sys.stderr)
    assert kept(run, kept_in) == "out\nerr\n"
    assert (as_it_is("stdout"), as_it_is("stderr")) == (before, before)


def test_what_goes_to_the_other_stream_is_kept_once(store, capsys):
    before = (as_it_is("stdout"), as_it_is("stderr"))
    with store.start_run("run") as run:
        with contextlib.redirect_stdout(sys.stderr), run.step("inside"):
            print("one")
        with run.step("around"), contextlib.redirect_stdout(sys.stderr):
            print("two")
    assert (kept(run, "inside"), kept(run, "around")) == ("one\n", "two\n")
    assert (as_it_is("stdout"), as_it_is("stderr")) == before


class Stubborn(logging.StreamHandler):
    """A handler whose stream is what it finds, as that of last resort."""

    @property
    def stream(self):
        return sys.stdout

    @stream.setter
    def stream(self, new):
        assert new is sys.stderr, "cannot be set"


class Holding:
    """Not a handler, but it holds the stream that was there when it was set up, as loguru does."""

    def __init__(self, stream):
        self.stream = stream

    def say(self, text):
        self.stream.write(text)


def test_whoever_holds_a_stream_of_before_the_step_is_kept_too(store, capsys):
    holding, handler, mine = Holding(sys.stderr), Stubborn(), logging.getLogger("stubborn")
    mine.addHandler(handler)
    try:
        with store.start_run("run") as run, run.step("load"):
            holding.say("held\n")
            mine.warning("logged")
    finally:
        mine.removeHandler(handler)
    assert kept(run, "load") == "held\nlogged\n"


def test_a_handler_that_finds_its_stream_by_itself_keeps_nobody_from_recording(store, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    handler = logging._StderrHandler(logging.WARNING)  # the kind of `logging.lastResort`: no stream can be set
    mine = logging.getLogger("mine")
    mine.addHandler(handler)
    try:
        with store.start_run("run") as run, run.step("a"):
            mine.warning("in a")
    finally:
        mine.removeHandler(handler)
    assert kept(run, "a") == capsys.readouterr().out == "in a\n"


class Delegating:
    """A stream that hands on to another what it has not itself."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)


class Marking(Delegating):
    def write(self, text):
        return self.stream.write(f"<{text}>")


@pytest.mark.parametrize("kind", [Delegating, Marking])
def test_streams_that_stand_before_others_are_as_before(store, monkeypatch, capsys, kind):
    inner = as_it_is("stdout")
    monkeypatch.setattr(sys, "stdout", kind(sys.stdout))
    before = as_it_is("stdout")
    with store.start_run("run") as run:
        with run.step("load"):
            sys.stdout.write("text")
        assert (as_it_is("stdout"), (inner[0], vars(inner[0]).get("write"))) == (before, inner)
    assert kept(run, "load") == "text"
    assert capsys.readouterr().out == ("<text>" if kind is Marking else "text")


class Narrow:
    __slots__ = ("text",)

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def test_a_stream_of_which_nothing_can_be_exchanged_is_left_alone(store, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Narrow())
    with store.start_run("run") as run, run.step("load"):
        print("text")
    assert sys.stdout.text == "text\n"
    assert store.get_step_log("run", "load").status == "SUCCESS"

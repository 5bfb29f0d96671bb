"""What a branch raised or returned comes back from a worker as it was, or costs that branch alone."""

import builtins
import pickle
import sys
import threading
import weakref
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from chunkstore import BranchFailedError
from chunkstore.recording.answers import sent
from recording import work
from recording.pools import PROCESSES, pool


class TwoArgumentsError(ValueError):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class WithMutexError(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.mutex = threading.Lock()
        self.code = 7


class NoReduceError(Exception):
    def __reduce__(self):
        raise RuntimeError("not to be pickled")


class NoTextError(Exception):
    def __str__(self):
        raise KeyError("no text")


class OtherTextError(Exception):
    def __init__(self, text):
        super().__init__()
        self.tell = lambda: text

    def __str__(self):
        return self.tell()


def raised(error, cause=None):
    """Return an exception as somebody has raised it."""
    try:
        raise error from cause  # noqa: TRY301 - what it is for
    except BaseException as caught:
        return caught


def back(error):
    """Return an exception as another process gets it."""
    return pickle.loads(pickle.dumps(sent(raised(error), by_value=False))).rebuilt()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TwoArgumentsError("this", "that"), "this and that"),
        (WithMutexError("held"), "held"),
        (NoReduceError("kept", 2), "('kept', 2)"),
        (OSError(2, "gone", "a.txt"), "[Errno 2] gone: 'a.txt'"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), "'utf-8' codec can't decode byte 0xff in position 0: why"),
        (SystemExit(3), "3"),
        (KeyboardInterrupt("now"), "now"),
        (BrokenProcessPool("of the function's own"), "of the function's own"),
    ],
)  # fmt: skip
def test_an_exception_comes_back_of_its_class_with_what_it_says_and_where_it_was_raised(error, text):
    found = back(error)
    assert type(found) is type(error)
    assert str(found) == text
    assert "in raised" in str(found.__cause__)


def test_what_an_exception_carries_comes_back_as_far_as_it_can_be_sent():
    error = WithMutexError("held")
    error.__notes__ = ["look there"]
    assert vars(back(error)) == {"code": 7, "__notes__": ["look there"]}
    assert back(SystemExit(3)).code == 3


def test_an_argument_that_cannot_be_sent_is_still_told_of():
    found = back(ValueError(threading.Lock()))
    assert type(found) is ValueError
    assert "lock object" in str(found)


def test_an_exception_whose_text_would_be_lost_is_told_by_another():
    found = back(OtherTextError("what it said"))
    assert (type(found), str(found)) == (RuntimeError, "OtherTextError: what it said")
    assert type(back(NoTextError())) is NoTextError


def test_an_exception_of_a_class_that_is_not_known_here_tells_its_name_text_and_place(tmp_path, monkeypatch):
    (tmp_path / "a_plugin_of_the_worker.py").write_text("class PluginError(Exception): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import a_plugin_of_the_worker

    data = pickle.dumps(sent(raised(a_plugin_of_the_worker.PluginError("the reason\nin two lines")), by_value=False))
    monkeypatch.delitem(sys.modules, "a_plugin_of_the_worker")
    monkeypatch.setattr(sys, "path", [])
    found = pickle.loads(data).rebuilt()
    assert (type(found), str(found)) == (RuntimeError, "PluginError: the reason\nin two lines")
    assert "in raised" in str(found.__cause__)


if sys.version_info >= (3, 11):  # there are no groups of exceptions before

    def test_a_group_of_exceptions_comes_back_with_those_in_it():
        group = builtins.ExceptionGroup
        error = group("all", [TwoArgumentsError(1, 2), group("in", [OtherTextError("x"), KeyError("k")])])
        found = back(error)
        assert type(found) is group
        assert found.message == "all"
        assert [repr(error) for error in found.exceptions] == [
            "TwoArgumentsError('1 and 2')",
            "ExceptionGroup('in', [RuntimeError('OtherTextError: x'), KeyError('k')])",
        ]


def test_causes_that_cannot_be_sent_are_in_the_traceback():
    error = raised(ValueError("outer"), raised(WithMutexError("inner")))
    found = pickle.loads(pickle.dumps(sent(error, by_value=False))).rebuilt()
    assert "WithMutexError: inner" in str(found.__cause__)
    assert "direct cause" in str(found.__cause__)


def test_a_large_exception_is_not_sent_twice():
    assert len(pickle.dumps(sent(ValueError("x" * 1_000_000), by_value=False))) < 4_000_000
    assert back(ValueError(b"x" * 1_000_000)).args == (b"x" * 1_000_000,)


class Handing(Executor):
    """Hands on to another executor, of which nobody knows."""

    def __init__(self, inner):
        self.inner = [inner]

    def submit(self, function, /, *arguments):
        return self.inner[0].submit(function, *arguments)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", [*PROCESSES[1:], "handing"])
def test_of_what_only_the_worker_knows_no_pool_breaks(store, kind, tmp_path, calls):
    (tmp_path / "known_to_workers.py").write_text(
        "class PluginError(Exception): pass\nclass Found: pass\ndef fail(): raise PluginError('the real reason')\n"
    )
    functions = {
        "raises": work.FromPlugin(str(tmp_path), "fail"),
        "returns": work.FromPlugin(str(tmp_path), "Found"),
        **{str(number): work.NotedTwo(calls, number) for number in range(6)},
    }
    with pool("fork" if kind == "handing" else kind, workers=1) as executor, store.start_run("run") as run:
        given = Handing(executor) if kind == "handing" else executor
        with pytest.raises(BranchFailedError) as caught:
            run.parallel("all", functions, executor=given)
        assert executor.submit(work.two).result() == 2  # it is not broken
    assert caught.value.results == {"raises": None, "returns": None, **{str(number): 2 for number in range(6)}}
    assert str(caught.value.failures["all.raises"]) == "PluginError: the real reason"
    assert "known_to_workers" in str(caught.value.failures["all.returns"])
    assert work.noted(calls) == {str(number): 1 for number in range(6)}


def test_an_error_of_threads_is_the_one_that_was_raised(store):
    error = WithMutexError("held")
    with pytest.raises(BranchFailedError) as caught, store.start_run() as run, ThreadPoolExecutor(1) as executor:
        run.map("score", [error], work.raise_it, executor=executor)
    assert caught.value.failures.popitem()[1] is error


def test_a_failed_branch_lets_go_of_what_its_function_had(store):
    had = []

    class Large:
        pass

    def fail(_item):
        large = Large()
        had.append(weakref.ref(large))
        try:
            {}["first"]
        except KeyError as error:
            raise ValueError("second") from error

    with pytest.raises(BranchFailedError) as caught, store.start_run() as run, ThreadPoolExecutor(1) as executor:
        run.map("score", range(3), fail, executor=executor)
    assert [reference() for reference in had] == [None] * 3
    error = caught.value.failures["score.1"]
    assert error.__traceback__.tb_next is not None  # where it was raised can still be told
    assert isinstance(error.__cause__, KeyError)


def test_a_generator_that_waits_is_not_ended_with_a_failure(store):
    def numbers():
        yield 1
        try:
            int("no number")
        except ValueError as error:
            failures.append(error)
        yield 2
        yield 3

    failures = []
    going_on = numbers()
    next(going_on), next(going_on)
    with store.start_run() as run, ThreadPoolExecutor(1) as executor:
        run.map("score", failures, work.raise_it, executor=executor, on_error="continue", name_of=lambda _: "x")
    assert next(going_on) == 3


@pytest.mark.thorough
def test_a_function_that_workers_cannot_import_fails_its_branch_and_no_pool(store, tmp_path, monkeypatch):
    (tmp_path / "known_to_the_parent.py").write_text("def seven(): return 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import known_to_the_parent

    options = {"initializer": work.forget_path, "initargs": (str(tmp_path),)}
    with pool("spawn", workers=1, **options) as executor, store.start_run("run") as run:
        functions = {"bad": known_to_the_parent.seven, "good": work.two}
        assert run.parallel("all", functions, executor=executor, on_error="continue") == {"bad": None, "good": 2}
    assert "its function could not be rebuilt" in store.get_branch_log("run", "all.bad").message


@pytest.mark.parametrize("made", [lambda: ProcessPoolExecutor(1), lambda: Handing(ProcessPoolExecutor(1))])
def test_an_exception_with_a_hook_that_fails_fails_its_branch_alone(store, made):
    with store.start_run("run") as run:
        results = run.map("score", [1, 2, 3], work.raise_hooked_for_two, executor=made(), on_error="continue")
    assert results == [1, None, 3]

"""A mutex that calls in the middle of others take too is given back as often as it was taken."""

import contextlib
import itertools
import sys
import threading

import pytest

from chunkstore import interrupts
from chunkstore.interrupts import passable


def is_free_for_others(mutex):
    found = []

    def look():
        found.append(mutex.acquire(blocking=False))
        if found[0]:
            mutex.release()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


def raise_at(moment):
    """Have the handler of a signal raise an exception at one of the moments at which Python looks for signals."""
    left = itertools.count(moment, -1)

    def look(_frame, event, _argument):
        if event in {"call", "c_return"} and next(left) == 0:
            sys.setprofile(None)
            raise TimeoutError

    sys.setprofile(look)


@pytest.mark.parametrize("is_held", [False, True])
def test_an_exception_from_a_handler_leaves_a_mutex_as_it_was(is_held):
    mutex = threading.RLock()
    was_raised = True
    for moment in itertools.count():
        with mutex if is_held else contextlib.nullcontext():
            try:
                raise_at(moment)
                with passable(mutex):
                    pass
                was_raised = False
            except TimeoutError:
                pass
            finally:
                sys.setprofile(None)
            assert is_free_for_others(mutex) is not is_held, moment
        assert is_free_for_others(mutex), moment
        if not was_raised:
            break
    assert moment > 2


@pytest.mark.parametrize("why", ["interrupts", "is ending"])
def test_who_may_not_wait_for_others_goes_on_without_the_mutex(monkeypatch, why):
    if why == "interrupts":
        monkeypatch.setattr(interrupts, "interrupts_another", lambda: True)
    else:
        monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    mutex, told = threading.RLock(), []

    def work():
        with passable(mutex) as is_ours:
            told.append(is_ours)

    for is_held in (True, False):
        with mutex if is_held else contextlib.nullcontext():
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            thread.join(10)
    assert told == [False, True]

"""What counts as a failure, and how it is told. None of this may fail itself, whatever exceptions users raise."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import traceback
from types import CodeType, FrameType
from typing import Any

from chunkstore.recording.values import storable

#: Longest line about an error, in characters: it stands in the records of steps, branches and runs, and in lists.
LONGEST_LINE = 1_000
#: Longest traceback, in characters: of a longer one, its beginning and its end are kept.
LONGEST_TRACEBACK = 100_000


def is_failure(error: BaseException | None) -> bool:
    """Tell whether an exception means that the work failed; `sys.exit(0)` does not, nor does closing a generator.

    As for Python, an exit with any other number, or with anything that is no number, is a failure.
    """
    if isinstance(error, GeneratorExit):
        return False  # whoever iterates needs no more
    if not isinstance(error, SystemExit):
        return error is not None
    code: object = error.code
    return not (code is None or (isinstance(code, int) and not int.__bool__(code)))


class ErrorWatch:
    """Finds out, for who ends a run or step and tells of no error, whether it is ended in the course of one.

    Who does that by hand does it from a `finally`, from `atexit` or from `sys.excepthook` as well. Made when the run or
    step begins: an error that was there before is none of its own.
    """

    def __init__(self) -> None:
        self._before = id(sys.exc_info()[1])
        self._last_before = id(getattr(sys, "last_value", None))

    def error(self) -> BaseException | None:
        """Return the error in whose course this is called, if it came up since the beginning; None if all is well."""
        active = sys.exc_info()[1]
        if is_failure(active) and id(active) != self._before:
            return None if any(code.co_flags & _GENERATORS for code in _codes()) else active
        # Python notes the error that a program dies of before anybody else is told of it.
        last: BaseException | None = getattr(sys, "last_value", None)
        return last if is_failure(last) and id(last) != self._last_before and _is_program_dying() else None


#: Who resumes a generator may be handling an error, which inside looks as if it were the generator's.
_GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def _is_program_dying() -> bool:
    """Tell whether the program is at its end, or in the hook that is told of the error that ends it."""
    if not threading.main_thread().is_alive():
        return True  # as Python says before it calls what was given to `atexit`
    hook: Any = sys.excepthook
    while isinstance(hook, functools.partial):
        hook = hook.func
    function = inspect.unwrap(getattr(hook, "__func__", hook))
    code = getattr(function if inspect.isroutine(function) else type(hook).__call__, "__code__", None)
    return code is not None and any(each is code for each in _codes())


def _codes() -> list[CodeType]:
    """Return what is at work in this thread, the innermost first."""
    found = []
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no public way that costs as little
    while frame is not None:
        found.append(frame.f_code)
        frame = frame.f_back
    return found


def text_of(error: BaseException) -> str:
    """Return what an exception says."""
    try:
        return storable(str(error)).strip()
    except BaseException:  # noqa: BLE001 - that it was raised is still known
        return "<its text could not be had>"


#: What exceptions mean that mostly say nothing.
_MEANING = {"CancelledError": "cancelled", "TimeoutError": "timed out"}


def describe_error(error: BaseException) -> str:
    """Return an exception in one line, `ValueError: what it says`; of a long one, how much more it says."""
    text = text_of(error) or _MEANING.get(type(error).__name__, "")
    first = text.splitlines()[0] if text else ""
    line = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]}… {len(line) - LONGEST_LINE:,} characters more"


def format_error(error: BaseException) -> str:
    """Return an exception with its traceback; of a long one, the beginning and the end."""
    try:
        text = storable("".join(traceback.format_exception(error)))
    except BaseException:  # noqa: BLE001 - some exceptions cannot even be formatted
        text = "".join([*traceback.format_tb(error.__traceback__), describe_error(error)])
    if len(text) <= LONGEST_TRACEBACK:
        return text
    half = LONGEST_TRACEBACK // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters were left out here …\n{text[-half:]}"

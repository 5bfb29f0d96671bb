"""What can be run as a step: a function whose call does its work, alone or with arguments fixed."""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable
from typing import Any

from chunkstore.errors import StoreUsageError

#: A partial can be made to hold itself.
_MOST_PARTIALS = 1000
_LATE = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def without_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function inside of `functools.partial`, as deep as it is."""
    for _ in range(_MOST_PARTIALS):
        if not issubclass(type(function), functools.partial):
            break
        function = function.func  # type: ignore[attr-defined] # a partial has one
    return function


def check_runs_at_once(function: Callable[..., Any]) -> None:
    """Raise `StoreUsageError` for what cannot be called, or whose call only begins the work: async ones, generators."""
    inner = without_arguments(function)
    if not callable(inner):
        raise StoreUsageError(f"Cannot run {reprlib.repr(inner)} as a step: it is no function. Give one.")
    if is_any_of(inner, *_LATE):
        raise _not_at_once(_name_of(inner), is_awaitable=is_any_of(inner, inspect.iscoroutinefunction))


def check_is_awaited(function: Callable[..., Any]) -> None:
    """Raise `StoreUsageError` for what cannot be called, and for generators, which cannot be awaited.

    Of others, such as a lambda, only what they return tells whether they can.
    """
    inner = without_arguments(function)
    if not callable(inner):
        raise StoreUsageError(f"Cannot run {reprlib.repr(inner)} as a step: it is no function. Give one.")
    if is_any_of(inner, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        raise _not_awaitable(_name_of(inner))


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Tell whether a function is an async one, alone or with arguments fixed, or an object that is called like one."""
    return is_any_of(without_arguments(function), inspect.iscoroutinefunction)


def is_any_of(function: Any, *kinds: Callable[[Any], bool]) -> bool:
    """Tell whether a function, or the method of an object that is called, is of some kind."""
    try:
        return any(is_kind(called) for called in (function, type(function).__call__) for is_kind in kinds)
    except Exception:  # noqa: BLE001 - whatever a strange object raises when it is asked for its class
        return False


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def done_at_once(result: Any, name: str) -> Any:
    """Return what a function returned, unless that is only the beginning of its work.

    So it is with a function inside of another, as decorators make them. An expression that is a generator is the result
    of a function that has done its work.
    """
    try:
        is_begun = inspect.isawaitable(result) or inspect.isasyncgen(result) or _is_unbegun_generator(result)
    except Exception:  # noqa: BLE001 - whatever a strange object raises when it is asked for its class
        is_begun = False
    if is_begun:
        if inspect.iscoroutine(result) or inspect.isgenerator(result):
            result.close()
        raise _not_at_once(name, is_awaitable=inspect.iscoroutine(result))
    return result


def awaitable(result: Any, name: str) -> Any:
    """Return what a function returned, if it can be awaited."""
    if not inspect.isawaitable(result):
        raise _not_awaitable(name)
    return result


def _is_unbegun_generator(result: Any) -> bool:
    return (
        inspect.isgenerator(result)
        and inspect.getgeneratorstate(result) == inspect.GEN_CREATED
        and result.gi_code.co_name != "<genexpr>"
    )


def _not_at_once(name: str, *, is_awaitable: bool) -> StoreUsageError:
    hint = "Do that inside `with run.step(name):`, or give a function that does it, such as `lambda: asyncio.run(…)`."
    if is_awaitable:
        hint = "Await `run.astep`, `run.amap` or `run.aparallel` instead: they take async functions."
    return StoreUsageError(
        f"Cannot run {name!r} as a step: calling it does not do its work, but returns something to await or iterate. "
        f"{hint}"
    )


def _not_awaitable(name: str) -> StoreUsageError:
    return StoreUsageError(
        f"Cannot await {name!r}: it is no async function. Use `run.step`, `run.map` or `run.parallel`, in a thread "
        "of its own (`await asyncio.to_thread(run.map, …)`) where others are not to wait; or make it an `async def`."
    )

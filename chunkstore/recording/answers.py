"""What came of a branch, and its way back from another process.

Results and exceptions travel as bytes: what cannot be rebuilt on the other side then costs one branch, or one
exception its class, and does not break the pool, which would take all that runs there with it.
"""

from __future__ import annotations

import builtins
import os
import pickle
import uuid
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from types import CodeType
from typing import Any, NamedTuple

from chunkstore.clock import clock
from chunkstore.recording.failures import format_error, text_of

#: Frames of these keep what is only suspended: clearing one would end it.
_SUSPENDABLE = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
#: Differs in every process but forked ones, whose id differs.
_TOKEN = uuid.uuid4().hex
#: Groups of exceptions nested deeper, and longer ones, are told of in the traceback alone.
_DEEPEST_GROUP = 20
#: Exceptions that take more bytes are not sent in parts as well.
_MOST_TWICE = 1 << 17
_GROUP: type[BaseException] | tuple[()] = getattr(builtins, "BaseExceptionGroup", ())  # from Python 3.11 on


class Outcome(NamedTuple):
    """What came of a branch.

    Attributes:
        value: what the function returned; None if it raised.
        error: what it raised; None if it returned.
        failed: whether the branch counts as failed: the function raised, or a step inside failed.
        start: which start of the branch it came of; empty if that is not known.
        put: who has put data, into which catalog, and where in that some of it lies; empty for nobody.
    """

    value: Any
    error: BaseException | SentError | None
    failed: bool
    start: str = ""
    put: tuple[str, str, str] | tuple[()] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (tuple(self), clock.latest)


def _arrived(fields: tuple[Any, ...], latest: int) -> Outcome:
    clock.observe(latest)  # what is recorded from now on comes after what the worker has recorded
    return Outcome(*fields)


class Packed(NamedTuple):
    """A pickled value; of a type of its own, as what a function returns may be bytes."""

    data: bytes


class SentError(NamedTuple):
    """An exception on its way to another process, whole and in parts, of which some may arrive where it does not.

    Attributes:
        whole: the exception, pickled; None if it does not pickle.
        kind: its class, pickled.
        arguments: what it was made of, each pickled; None for those that do not pickle.
        attributes: those of its attributes that pickle.
        members: the exceptions that it groups.
        name: what its class is called.
        text: what it says.
        traceback: where it was raised, with its causes, as text.
    """

    whole: bytes | None
    kind: bytes | None
    arguments: tuple[bytes | None, ...]
    attributes: dict[str, bytes]
    members: tuple[SentError, ...]
    name: str
    text: str
    traceback: str

    def rebuilt(self) -> BaseException:
        """Return the exception; of its own class if that can be had here, else one that tells what it was."""
        told = f"{self.name}: {self.text}" if self.text else self.name
        error: BaseException = next(filter(self._is_like, self._ways()), RuntimeError(told))
        if error.__cause__ is None and self.traceback:
            error.__cause__ = RemoteTraceback(self.traceback)
        return error

    def _ways(self) -> Iterator[Any]:
        """Yield what could be the exception, the best first; None where one way failed."""
        yield _loaded(self.whole)
        arguments = tuple(map(_loaded, self.arguments))
        if self.members:
            arguments = (*arguments[:1], [member.rebuilt() for member in self.members])
        yield self._made_of(arguments)
        yield self._made_of((self.text,))

    def _is_like(self, error: Any) -> bool:
        return isinstance(error, BaseException) and (type(error).__name__, text_of(error)) == (self.name, self.text)

    def _made_of(self, arguments: tuple[Any, ...]) -> Any:
        """Return an exception of the class without a call of its `__init__`, which may ask for what is not known."""
        kind = _loaded(self.kind)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)) or hasattr(kind, "__del__"):
            return None  # what ends an object may need what `__init__` has given to it
        try:
            error = kind.__new__(kind, *arguments)
            if not self.members:
                error.args = arguments
            error.__dict__.update({name: _loaded(data) for name, data in self.attributes.items()})
        except Exception:  # noqa: BLE001 - whatever the making of an exception raises
            return None
        return error


class RemoteTraceback(Exception):  # noqa: N818 - no error of its own, but where another was raised
    """The cause of an exception that came from another process: its traceback there."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def this_process() -> tuple[int, str]:
    """Return what no other process has, on whatever host."""
    return os.getpid(), _TOKEN


def packed(value: Any, *, by_value: bool) -> Any:
    """Return a value pickled.

    Args:
        value: anything.
        by_value: whether what pickle refuses, such as a lambda, is pickled by cloudpickle, or, where that is not
            installed, left to the engine. What both refuse would end the workers of some engines.

    Raises:
        Exception: whatever its pickling raises.
    """
    data = _dumped(value, by_value=by_value)
    if data is not None:
        return Packed(data)
    if by_value and find_spec("cloudpickle") is None:
        return value
    return Packed(pickle.dumps(value))


def unpacked(value: Any) -> Any:
    """Return a value that may be packed.

    Raises:
        Exception: whatever its unpickling raises.
    """
    return pickle.loads(value.data) if type(value) is Packed else value  # noqa: S301 - from our own processes


def sent(error: BaseException, *, by_value: bool, depth: int = 0) -> SentError:
    """Return an exception in a form that arrives anywhere; its class by value, if `by_value` is set, as in `packed`."""
    members: tuple[BaseException, ...] = error.exceptions if isinstance(error, _GROUP) else ()  # type: ignore[attr-defined]
    whole = _dumped(error)
    is_large = len(whole or b"") > _MOST_TWICE
    attributes = {} if is_large else getattr(error, "__dict__", {})
    sendable = {name: _dumped(value) for name, value in attributes.items()}
    return SentError(
        whole=whole,
        kind=_dumped(type(error), by_value=by_value),
        arguments=() if is_large else tuple(map(_dumped, error.args)),
        attributes={name: data for name, data in sendable.items() if data is not None},
        members=tuple(sent(member, by_value=by_value, depth=depth + 1) for member in members)
        if depth < _DEEPEST_GROUP
        else (),
        name=type(error).__name__,
        text=text_of(error),
        traceback=format_error(error) if not depth else "",
    )


def _dumped(value: Any, *, by_value: bool = False) -> bytes | None:
    with suppress(Exception):
        return pickle.dumps(value)
    if by_value:
        with suppress(Exception):
            import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - most engines that do so have it

            data: bytes = cloudpickle.dumps(value)
            return data
    return None


def _loaded(data: bytes | None) -> Any:
    with suppress(Exception):
        return None if data is None else pickle.loads(data)  # noqa: S301 - from our own processes
    return None


def without_locals(error: BaseException) -> BaseException:
    """Return an exception whose traceback tells where it was raised, and holds nothing of what was there.

    A map keeps its failures to the end; with the variables of their frames, each would keep all its function had.
    """
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        waiting += [current.__cause__, current.__context__]
        waiting += current.exceptions if isinstance(current, _GROUP) else ()  # type: ignore[attr-defined]
        place = current.__traceback__
        while place is not None:
            code: CodeType = place.tb_frame.f_code
            if not code.co_flags & _SUSPENDABLE:
                try:
                    place.tb_frame.clear()
                except RuntimeError:
                    pass  # it still runs
            place = place.tb_next
    return error

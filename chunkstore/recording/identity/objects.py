"""What objects consist of: their class and state, as pickle sees them, but never by attributes that they make up."""

from __future__ import annotations

import copyreg
import enum
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from chunkstore.recording.identity.functions import named, without_texts
from chunkstore.recording.identity.parts import Parts, UnknownValueError
from chunkstore.recording.identity.rules import Rules, class_module, class_name

_POINTER = 8
_PICKLE = 5
#: What a run is recorded with: which one it is decides nothing.
_RECORDING = frozenset(
    {
        ("chunkstore.stores.base", "Store"),
        ("chunkstore.recording.scope", "Scope"),
        ("chunkstore.recording.step_record", "StepRecord"),
        ("chunkstore.recording.catalog.catalog", "Catalog"),
    }
)
#: What a function may hold to work with; it has no value.
_TOOLS = frozenset(
    {
        ("_thread", "lock"),
        ("_thread", "RLock"),
        ("_thread", "_local"),
        ("threading", "Condition"),
        ("threading", "Event"),
        ("threading", "Semaphore"),
        ("threading", "Barrier"),
        ("threading", "Thread"),
        ("_threading_local", "local"),
        ("concurrent.futures._base", "Executor"),
        ("concurrent.futures._base", "Future"),
        ("multiprocessing.synchronize", "SemLock"),
        ("multiprocessing.process", "BaseProcess"),
        ("multiprocessing.pool", "Pool"),
        ("queue", "Queue"),
        ("_queue", "SimpleQueue"),
        ("_io", "_IOBase"),
        ("logging", "Logger"),
        ("logging", "LoggerAdapter"),
        ("logging", "Handler"),
        ("_weakref", "ReferenceType"),
        ("weakref", "ReferenceType"),
        ("weakref", "WeakSet"),
        ("weakref", "WeakKeyDictionary"),
        ("weakref", "WeakValueDictionary"),
        ("_contextvars", "ContextVar"),
        ("_contextvars", "Context"),
        ("asyncio.locks", "Lock"),
        ("asyncio.events", "AbstractEventLoop"),
    }
)
#: Classes of Python whose contents count, whatever a class on top of them adds.
_CONTAINERS = (OrderedDict, dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex)


def object_parts(value: Any, rules: Rules, told: Callable[[type], Any]) -> Parts:
    """Return what an object consists of.

    Args:
        value: the object.
        rules: what is followed.
        told: returns the part for a class.

    Raises:
        UnknownValueError: nothing tells.
        Exception: whatever the object's own code raises.
    """
    cls = type(value)
    places = {(class_module(base), class_name(base)) for base in _bases(cls)}
    if not places.isdisjoint(_RECORDING) or (rules.for_code and not places.isdisjoint(_TOOLS)):
        return Parts(b"tool", [told(cls)])
    if issubclass(cls, enum.Enum):
        return Parts(b"enum", [told(cls), _dict_of(value).get("_name_"), _dict_of(value).get("_value_")])
    reduce = copyreg.dispatch_table.get(cls)
    if reduce is not None:
        return _reduced(reduce(value), cls, told)
    own = _found(cls, "__reduce_ex__")
    if own is not object.__dict__["__reduce_ex__"]:
        return _reduced(own(value, _PICKLE), cls, told)
    own = _found(cls, "__reduce__")
    if own is not object.__dict__["__reduce__"] and not issubclass(cls, (set, frozenset, OrderedDict, bytearray)):
        return _reduced(own(value), cls, told)
    return _by_state(value, cls, rules, told(cls))


def _bases(cls: type) -> tuple[type, ...]:
    found: tuple[type, ...] = type.__dict__["__mro__"].__get__(cls)
    return found


def _found(cls: type, name: str) -> Any:
    """Return what a class has under a name; an object, or its metaclass, may make up another answer."""
    for base in _bases(cls):
        attributes = type.__dict__["__dict__"].__get__(base)
        if name in attributes:
            return attributes[name]
    return None


def _dict_of(value: Any) -> dict[str, Any]:
    found = object.__getattribute__(value, "__dict__")
    return found if isinstance(found, dict) else {}


def _reduced(reduced: Any, cls: type, told: Callable[[type], Any]) -> Parts:
    """Return the parts that pickle would save."""
    if type(reduced) is str:
        return Parts(named(b"global", class_module(cls), reduced).token)
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:  # noqa: PLR2004 - as pickle has it
        raise UnknownValueError(f"cannot pickle {class_name(cls)!r} object: __reduce__ gives nothing of use")
    made: list[Any] = [*reduced, *[None] * (6 - len(reduced))]
    make, arguments, state, items, pairs, setter = made
    # Its class counts even if something else makes the object.
    parts = [
        told(cls),
        make if make is not cls else None,
        arguments,
        state,
        setter,
        None if items is None else list(items),
    ]
    if pairs is None:
        return Parts(b"object", parts)
    pairs = list(pairs)
    if issubclass(cls, OrderedDict):
        return Parts(b"ordered", [*parts, pairs])
    return Parts(b"object", parts, pairs)


def _by_state(value: Any, cls: type, rules: Rules, its_class: Any) -> Parts:
    """Return the parts of an object that leaves pickling to Python."""
    base = next((kind for kind in _CONTAINERS if issubclass(cls, kind)), None)
    parts: list[Any] = [its_class]
    if base is not None:
        parts.append(_content(value, base))
    for name in ("__getnewargs_ex__", "__getnewargs__"):
        own = _found(cls, name)
        if own is not None and base is None:
            parts += [name, own(value)]
            break
    own = _found(cls, "__getstate__")
    if own is not None and own is not object.__dict__.get("__getstate__"):
        return Parts(b"state", [*parts, own(value)])
    slots = [name for name, _ in _slots(cls)]
    if base is None and (cls.__itemsize__ or cls.__basicsize__ > _size_without_more(cls, len(slots))):
        raise UnknownValueError(f"cannot pickle {class_name(cls)!r} object")
    derived = _derived(cls)
    state = {name: part for name, part in _state(value, cls) if name not in derived and not rules.is_only_written(name)}
    state = without_texts(state)
    return Parts(b"state", [*parts, state])


@functools.lru_cache(maxsize=512)
def _derived(cls: type) -> frozenset[str]:
    """Return the attributes that objects of a class keep though they follow from the others."""
    return frozenset(
        name
        for base in _bases(cls)
        for name, value in type.__dict__["__dict__"].__get__(base).items()
        if type(value) is functools.cached_property  # noqa: TID251 - users have them
    )


def _content(value: Any, base: Any) -> Any:
    """Return what is in a value of a subclass of one of Python's own containers."""
    if base is OrderedDict:
        return list(OrderedDict.items(value))
    if base is dict:
        return dict(dict.items(value))
    if base is str:
        return str.__str__(value)
    if base in (int, float, complex):
        return base.__pos__(value)
    return base(base.__iter__(value))


def _size_without_more(cls: type, slots: int) -> int:
    """Return how large an object is that holds nothing beside its dict and its slots."""
    fields = slots + bool(cls.__dictoffset__) + bool(cls.__weakrefoffset__)
    return object.__basicsize__ + _POINTER * fields


def _slots(cls: type) -> Iterator[tuple[str, Any]]:
    for base in _bases(cls):
        attributes = type.__dict__["__dict__"].__get__(base)
        names = attributes.get("__slots__", ())
        for name in [names] if isinstance(names, str) else list(names):
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                plain = f"_{base.__name__.lstrip('_')}{name}" if private else name
                yield plain, attributes.get(plain)


def _state(value: Any, cls: type) -> Iterator[tuple[str, Any]]:
    if cls.__dictoffset__:
        yield from _dict_of(value).items()
    for name, descriptor in _slots(cls):
        try:
            yield name, descriptor.__get__(value, cls)
        except AttributeError:
            continue  # not filled

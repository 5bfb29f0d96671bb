"""The identity of a function, and the hash of what a step is called with."""

from __future__ import annotations

import functools
import hashlib
import types
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from chunkstore.recording.functions import without_arguments
from chunkstore.recording.identity.graph import Graph, code_digest
from chunkstore.recording.identity.names import describe
from chunkstore.recording.identity.parts import UnknownValueError
from chunkstore.recording.identity.rules import Rules, class_module, is_library, module_name, module_of
from chunkstore.recording.identity.scalars import framed
from chunkstore.records.models import CodeIdentity

FUNCTION = "function"
#: The way in which values are hashed, before each hash: hashes of other ways are other hashes.
VERSION = "v2"
UNKNOWN = "unknown"
#: Of so many arguments it is noted which they were, with so many digits of their hashes.
_MOST_ARGUMENTS = 32
_SHORT_HASH = 12
_LONGEST_REASON = 120
_MOST_WRAPPERS = 1000


class InputHash(NamedTuple):
    """What a step was called with.

    Attributes:
        whole: the hash of it all; None if something cannot be told.
        arguments: by name the beginning of the hash of each, or why there is none.
    """

    whole: str | None
    arguments: dict[str, str]


def function_identity(function: Callable[..., Any]) -> CodeIdentity | None:
    """Return a hash of what a function does; None for one that has no bytecode, as those of C.

    One of which nothing can be told has an identity that no other has, and not this one either when it is asked again.
    """
    try:
        if _is_builtin(function):
            return None
        digest = code_digest(function, frozenset(_own_modules(function)))
        version, message = hashlib.sha256(VERSION.encode() + digest).hexdigest(), ""
    except Exception as error:  # noqa: BLE001 - whatever a strange function raises
        version = f"{UNKNOWN}:{uuid.uuid4().hex}"
        message = f": {_line(error)}"
    return CodeIdentity(
        code_identifier=version,
        code_identifier_type=FUNCTION,
        code_identifier_dependable=False,
        code_identifier_message=f"{describe(function)}{message}",
    )


def is_unknown(identity: CodeIdentity) -> bool:
    """Tell whether an identity says that nothing is known."""
    return (identity.code_identifier or "").startswith(f"{UNKNOWN}:")


def _is_builtin(function: Any) -> bool:
    if issubclass(type(function), types.BuiltinFunctionType):
        return function.__self__ is None or issubclass(type(function.__self__), types.ModuleType)
    return issubclass(type(function), type) and class_module(function) == "builtins"


def _own_modules(function: Any) -> set[str]:
    """Return the modules whose code counts: those of a function, and of what it wraps."""
    found: list[str] = []
    for _ in range(_MOST_WRAPPERS):
        function = without_arguments(function)
        if issubclass(type(function), types.MethodType):
            function = function.__func__
        if issubclass(type(function), types.FunctionType):
            found += [module_of(function), module_name(function.__module__)]
        elif issubclass(type(function), type):
            found.append(class_module(function))
        else:
            found.append(class_module(type(function)))
        function = _wrapped_by(function)
        if function is None:
            break
    users = {module for module in found if not is_library(module)}
    return users or set(found[:1])


def _wrapped_by(function: Any) -> Any:
    """Return the function that one is put around, as `functools.wraps` notes it."""
    try:
        return object.__getattribute__(function, "__dict__").get("__wrapped__")
    except (AttributeError, TypeError):
        return None


def _line(error: Exception) -> str:
    text = str(error) if isinstance(error, UnknownValueError) else f"{type(error).__name__}"
    return text[:_LONGEST_REASON]


# --- what a step is called with --------------------------------------------------------------------------------------


def input_hash(
    arguments: tuple[Any, ...], keywords: Mapping[str, Any], function: Callable[..., Any] | None = None
) -> InputHash:
    """Return the hash of what a function is called with.

    Args:
        arguments: those without a name.
        keywords: those with one.
        function: what is called; its module's code counts where arguments hold some.
    """
    try:
        own = frozenset() if function is None else frozenset(_own_modules(function))
        rules = Rules(own, for_code=False)
        while True:
            before = rules.amount
            found = _hashed(arguments, keywords, _names_of(function), rules)
            if rules.amount == before:
                return found
    except Exception as error:  # noqa: BLE001 - whatever strange values raise
        return InputHash(None, {"": f"{UNKNOWN}: {_line(error)}"})


def _hashed(arguments: tuple[Any, ...], keywords: Mapping[str, Any], names: tuple[str, ...], rules: Rules) -> InputHash:
    graph, whole, is_known = Graph(rules), hashlib.sha256(), True
    notes: dict[str, str] = {}
    places: list[tuple[str, str, Any]] = [
        ("", names[place] if place < len(names) and names[place] not in keywords else str(place), value)
        for place, value in enumerate(arguments)
    ]
    places += [(name, name, keywords[name]) for name in sorted(keywords)]
    for keyword, name, value in places:
        try:
            token = graph.digest(value)
        except UnknownValueError as error:
            token, note, is_known = b"", f"{UNKNOWN}: {_line(error)}", False
            graph = Graph(rules)
        else:
            note = hashlib.sha256(token).hexdigest()[:_SHORT_HASH]
        whole.update(framed(b"k", keyword.encode(errors="backslashreplace")) + framed(b"v", token))
        if len(notes) < _MOST_ARGUMENTS or not token:
            notes[name[:_LONGEST_REASON]] = note
    return InputHash(f"{VERSION}:{whole.hexdigest()}" if is_known else None, notes)


def _names_of(function: Any) -> tuple[str, ...]:
    """Return what a function calls its arguments, as far as that is easily told."""
    inner: Any = without_arguments(function)
    fixed = 0
    while function is not inner and issubclass(type(function), functools.partial):
        fixed += len(function.args)
        function = function.func
    if issubclass(type(inner), types.MethodType):
        inner, fixed = inner.__func__, fixed + 1
    if not issubclass(type(inner), types.FunctionType):
        return ()
    return tuple(inner.__code__.co_varnames[fixed : inner.__code__.co_argcount])

"""Which code ran: the git commit, and the function itself.

Two runs of a function count as the same code if neither the commit, nor the changes that were not committed, nor the
function's own bytecode, nor that of the functions of its module that it calls, nor the constants they use, differ. What
can change while a program runs (lists, dicts, counters) is no part of its code.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import os
import pickle
import re
import subprocess
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from chunkstore.recording.functions import without_arguments
from chunkstore.records.models import CodeIdentity

GIT, FUNCTION = "git", "function"
_GIT_TIMEOUT = 10.0
_CONSTANTS = (str, bytes, int, float, complex, bool, type(None))
_ASSIGNMENTS = {"STORE_DEREF", "STORE_GLOBAL", "DELETE_DEREF", "DELETE_GLOBAL"}


@functools.lru_cache(maxsize=1)
def git_identity() -> CodeIdentity | None:
    """Return the commit that is checked out in the working folder; None without git. Found once per process."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    # Files that git does not know of are no code it could speak for; most are results of the very runs it records.
    changed = _git("status", "--porcelain", "--untracked-files=no")
    message = ""
    if changed:
        difference = _git("diff", "HEAD")
        message = f"uncommitted changes, sha256:{hashlib.sha256((difference or changed).encode()).hexdigest()}"
    return CodeIdentity(
        code_identifier=commit.strip(),
        code_identifier_type=GIT,
        code_identifier_dependable=changed == "",
        code_identifier_url=without_credentials((_git("config", "--get", "remote.origin.url") or "").strip()),
        code_identifier_message=message,
    )


def _git(*arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        result = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            check=True,
            env=environment,
            timeout=_GIT_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.decode(errors="backslashreplace")


def without_credentials(url: str) -> str:
    """Return the URL of a git remote without user, password and query, each of which may be a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return re.sub(r"^[^/@]*@(?=[^/]*:)", "", url)  # git@host:path
    place, slash, path = rest.partition("/")
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def function_identity(function: Callable[..., Any]) -> CodeIdentity | None:
    """Return a hash of what a function does; None for one that has no bytecode."""
    digest = hashlib.sha256()
    parts = list(_parts(function, set()))
    if not parts:
        return None
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return CodeIdentity(
        code_identifier=digest.hexdigest(),
        code_identifier_type=FUNCTION,
        code_identifier_dependable=False,
        code_identifier_message=describe(function),
    )


def describe(function: Callable[..., Any]) -> str:
    """Return where a function is defined, `package.module.name`."""
    function = without_arguments(function)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{name}"


def name_of(function: Callable[..., Any]) -> str:
    """Return what to call the step that runs a function."""
    function = without_arguments(function)
    return getattr(function, "__name__", "") or type(function).__name__


def _parts(function: Any, seen: set[int]) -> Iterator[bytes]:
    """Yield what decides what a function does."""
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, functools.partial):
        yield from _parts(function.func, seen)
        yield _pickled((function.args, sorted(function.keywords.items())))
        return
    function = inspect.unwrap(function)
    if isinstance(function, types.MethodType):
        yield _constants(vars(function.__self__) if hasattr(function.__self__, "__dict__") else {})
        function = function.__func__
    if isinstance(function, types.FunctionType):
        yield from _function_parts(function, seen)
        return
    call = inspect.getattr_static(type(function), "__call__", None)
    if isinstance(call, types.FunctionType):  # an object of a class with a __call__ of its own
        yield _constants(vars(function) if hasattr(function, "__dict__") else {})
        yield from _function_parts(call, seen)


def _function_parts(function: types.FunctionType, seen: set[int]) -> Iterator[bytes]:
    code = function.__code__
    yield from _code_parts(code)
    defaults = dict(enumerate(function.__defaults__ or ()))
    yield _constants({**defaults, **(function.__kwdefaults__ or {})})
    assigned = _assigned_names(code)
    used = {name: cell.cell_contents for name, cell in _filled_cells(function)}
    used.update({name: function.__globals__[name] for name in _names(code) if name in function.__globals__})
    yield _constants({name: value for name, value in used.items() if name not in assigned})
    for name in sorted(used):
        value = used[name]
        if isinstance(value, functools.partial) or (
            isinstance(value, types.FunctionType) and value.__module__ == function.__module__
        ):
            yield from _parts(value, seen)


def _filled_cells(function: types.FunctionType) -> Iterator[tuple[str, types.CellType]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            _ = cell.cell_contents
        except ValueError:
            continue  # not filled yet
        yield name, cell


def _code_parts(code: types.CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode(errors="backslashreplace")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_parts(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant))).encode()  # the order of a set differs from process to process
        else:
            yield repr(constant).encode(errors="backslashreplace")


def _inner_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _inner_code(constant)


def _names(code: types.CodeType) -> set[str]:
    return {name for inner in _inner_code(code) for name in inner.co_names}


def _assigned_names(code: types.CodeType) -> set[str]:
    """Return the outer variables that a function assigns to: they are its state."""
    return {
        instruction.argval
        for inner in _inner_code(code)
        for instruction in dis.get_instructions(inner)
        if instruction.opname in _ASSIGNMENTS
    }


def _constants(values: dict[Any, Any]) -> bytes:
    """Return those of some values that cannot change while a program runs."""
    return repr(sorted((str(name), repr(value)) for name, value in values.items() if _is_constant(value))).encode(
        errors="backslashreplace"
    )


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return type(value) in _CONSTANTS


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=4)
    except Exception:  # noqa: BLE001 - whatever a value's pickling raises
        return type(value).__qualname__.encode()


def identities(commit: CodeIdentity | None, function: Callable[..., Any] | None) -> list[CodeIdentity]:
    """Return what is known of the code that a step runs: the commit, and the function if it runs one."""
    known = [commit, function_identity(function) if function is not None else None]
    return [identity for identity in known if identity is not None]


def same_code(one: Iterable[CodeIdentity], other: Iterable[CodeIdentity]) -> bool:
    """Tell whether two lists of identities speak of the same code."""
    return _facts(one) == _facts(other)


def _facts(code: Iterable[CodeIdentity]) -> set[tuple[str | None, ...]]:
    return {
        # The message of a git identity tells of uncommitted changes; that of a function only where it stands.
        (
            identity.code_identifier_type,
            identity.code_identifier,
            identity.code_identifier_message if identity.code_identifier_type == GIT else "",
        )
        for identity in code
    }

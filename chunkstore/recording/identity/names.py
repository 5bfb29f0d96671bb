"""What functions are called, in records and as steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chunkstore.recording.functions import without_arguments
from chunkstore.recording.identity.rules import class_module, class_name


def describe(function: Callable[..., Any]) -> str:
    """Return where a function is defined, `package.module.name`."""
    function = without_arguments(function)
    name = _text(function, "__qualname__") or class_name(type(function))
    return f"{_text(function, '__module__') or class_module(type(function))}.{name}"


def name_of(function: Callable[..., Any]) -> str:
    """Return what to call the step that runs a function."""
    function = without_arguments(function)
    return _text(function, "__name__") or type.__dict__["__name__"].__get__(type(function))


def _text(function: Any, name: str) -> str:
    """Return an attribute that is text; some objects make up others."""
    try:
        found = getattr(function, name, "")
    except Exception:  # noqa: BLE001 - whatever a strange object raises
        return ""
    return found if type(found) is str else ""

"""Conformance suites whose subclasses declare what a store or an engine cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


def needs(*capabilities: str) -> Callable[[_F], _F]:
    """Mark a test that holds only for stores or engines that declare all of these capabilities.

    Args:
        capabilities: names of class attributes of the suite.
    """

    def mark(function: _F) -> _F:
        function.__dict__["needed_capabilities"] = capabilities
        return function

    return mark


class Capable:
    """Leaves out the tests that need a capability which a subclass does not declare."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Leave them out."""
        super().__init_subclass__(**options)
        for name in dir(cls):
            needed = getattr(getattr(cls, name), "needed_capabilities", ())
            if not all(getattr(cls, capability) for capability in needed):
                setattr(cls, name, None)

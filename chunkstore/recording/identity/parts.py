"""What a value consists of: a label, and parts whose order counts or does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Parts(NamedTuple):
    """What a value consists of.

    Attributes:
        label: what tells it from other values with the same parts.
        ordered: its parts, whose order counts.
        unordered: groups of parts, whose order does not.
    """

    label: bytes
    ordered: Sequence[Any] = ()
    unordered: Sequence[tuple[Any, ...]] = ()


class UnknownValueError(Exception):
    """Nothing can be told of a value."""

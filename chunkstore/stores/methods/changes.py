"""What may become of a record that somebody changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from chunkstore.backends.turns import ask
from chunkstore.errors import InvalidValueError, StoreUsageError
from chunkstore.records.base import Record
from chunkstore.records.models import BranchLog, StepLog

_AnyRecord = TypeVar("_AnyRecord", bound=Record)


def changed(record: _AnyRecord, change: Callable[[_AnyRecord], _AnyRecord | None]) -> _AnyRecord:
    """Return what a change function makes of a record.

    Raises:
        StoreUsageError: it returns no record of that type.
    """
    result = ask(change, record)
    if result is None:
        return record
    if type(result) is not type(record):
        raise StoreUsageError(
            f"A change function must alter the {type(record).__name__} it gets, or return another; it returned "
            f"{type(result).__name__}. Nothing was changed."
        )
    return result


def check_kind(record: Any, kind: type[Record]) -> None:
    """Refuse what is no record of a kind."""
    if not isinstance(record, kind):
        raise refused("record", f"it is a {type(record).__name__}", f"Give a {kind.__name__}.")


def check_bare(record: StepLog | BranchLog) -> None:
    """Refuse what would bypass the records inside a record."""
    if isinstance(record, StepLog):
        if record.branches:
            raise refused("branches", "they are records of their own", "Use add_branch_log.")
    elif record.steps or record.parameters:
        raise refused("steps", "they are records of their own", "Use add_step_log or set_parameters.")


def refused(key: str, reason: str, hint: str) -> InvalidValueError:
    """Return the error for a change of something that cannot change in this way."""
    return InvalidValueError(f"Cannot change {key}: {reason}. {hint}", key=key, reason=reason)

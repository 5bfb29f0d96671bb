"""What counts as a failure, and how it is told. None of this may fail itself, whatever exceptions users raise."""

from __future__ import annotations

import traceback

from chunkstore.recording.values import storable


def is_failure(error: BaseException | None) -> bool:
    """Tell whether an exception means that the work failed; `sys.exit(0)` does not."""
    return error is not None and not (isinstance(error, SystemExit) and error.code in {None, 0})


def describe_error(error: BaseException) -> str:
    """Return an exception in one line, `ValueError: what it says`."""
    try:
        text = storable(str(error)).strip()
    except BaseException:  # noqa: BLE001 - that it was raised is still known
        text = "<its text could not be had>"
    first = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def format_error(error: BaseException) -> str:
    """Return an exception with its traceback."""
    try:
        return storable("".join(traceback.format_exception(error)))
    except BaseException:  # noqa: BLE001 - some exceptions cannot even be formatted
        return "".join([*traceback.format_tb(error.__traceback__), describe_error(error)])

"""Every error that chunkstore raises on purpose.

::

    ChunkstoreError
    ├── RunLogNotFoundError        (KeyError, FileNotFoundError)
    ├── RunLogExistsError          (FileExistsError)
    ├── StepLogNotFoundError       (KeyError)
    ├── BranchLogNotFoundError     (KeyError)
    ├── DataNotFoundError          (KeyError, FileNotFoundError)
    ├── InvalidNameError           (ValueError)
    ├── InvalidValueError          (ValueError)
    ├── CorruptChunkError          (ValueError)
    ├── UnsupportedFormatError     (ValueError)
    ├── ConfigurationError         (ValueError)
    │   ├── StoreAccessError       (PermissionError)
    │   └── StoreUnsupportedError
    ├── LockTimeoutError           (TimeoutError)
    ├── StoreFullError             (OSError)
    ├── StoreIOError               (OSError)
    ├── StoreUsageError            (RuntimeError)
    │   └── StoreNotSharedError    (RuntimeError)
    ├── RunLivesError              (RuntimeError)
    ├── BranchFailedError          (RuntimeError)
    └── WorkerDiedError            (RuntimeError)

The second parents are what Python users catch already. Each message says what was tried, on which run, step or file,
and what to do next; the same facts are attributes. All of them pickle, because they cross process boundaries.
"""

from __future__ import annotations

import traceback
from typing import Any


class ChunkstoreError(Exception):
    """The root of all errors of chunkstore.

    Args:
        message: what was tried, where, and what to do next.
        details: the facts in the message, kept as attributes of the error.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        for name, value in details.items():
            setattr(self, name, value)  # `errno` of an OSError lives in a slot, which hides what is in __dict__
        self.__dict__.update(details)

    def __str__(self) -> str:
        # KeyError would show the repr of the message, OSError its arguments.
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__.copy(), _sendable(self.__cause__))


def _sendable(cause: BaseException | None) -> BaseException | None:
    """Return a cause that can be pickled: one that cannot must not take the error itself down."""
    try:
        import pickle  # noqa: PLC0415 - few errors have causes, and importing it takes its time

        pickle.loads(pickle.dumps(cause))  # noqa: S301 - what this very process has pickled
    except Exception:  # noqa: BLE001 - whatever an exception's pickling raises
        return RuntimeError("".join(traceback.format_exception(cause)))
    return cause


def _rebuild(cls: type[ChunkstoreError], attributes: dict[str, Any], cause: BaseException | None) -> ChunkstoreError:
    error = cls(**attributes)
    error.__cause__ = cause
    return error


class RunLogNotFoundError(ChunkstoreError, KeyError, FileNotFoundError):
    """The store holds no run of this id (attributes: `run_id`, `location`)."""


class RunLogExistsError(ChunkstoreError, FileExistsError):
    """A run of this id was created before, perhaps by another process just now (attribute: `run_id`)."""


class StepLogNotFoundError(ChunkstoreError, KeyError):
    """The run has no step of this internal name (attributes: `run_id`, `internal_name`)."""

    internal_name: str


class BranchLogNotFoundError(ChunkstoreError, KeyError):
    """The run has no branch of this internal name (attributes: `run_id`, `internal_name`)."""

    internal_name: str


class DataNotFoundError(ChunkstoreError, KeyError, FileNotFoundError):
    """The catalog of the run holds no data of this name (attributes: `run_id`, `name`)."""


class InvalidNameError(ChunkstoreError, ValueError):
    """A run id, name or data name cannot be used (attributes: `name`, `reason`)."""


class InvalidValueError(ChunkstoreError, ValueError):
    """A value cannot be recorded without loss (attributes: `key`, the path to the value; `reason`)."""


class CorruptChunkError(ChunkstoreError, ValueError):
    """A file holds no readable record (attributes: `file`, `offset` in bytes, `reason`)."""

    file: str
    offset: int
    reason: str


class UnsupportedFormatError(ChunkstoreError, ValueError):
    """A run was written in a newer format and may be read, but not written (attributes: `run_id`, `format`)."""


class ConfigurationError(ChunkstoreError, ValueError):
    """A configuration cannot be used (attributes: `file`, `key`, `expected`)."""


class StoreAccessError(ConfigurationError, PermissionError):
    """The operating system denies access to a file or folder of the store (attributes: `file`, `errno`)."""


class StoreUnsupportedError(ConfigurationError):
    """The place cannot keep what is written there apart; nothing is recorded in it (attributes: `file`, `key`)."""


class LockTimeoutError(ChunkstoreError, TimeoutError):
    """A lock was not free in time (attributes: `file`, `timeout` in seconds, `holder`: a pid of this host or None)."""


class StoreFullError(ChunkstoreError, OSError):
    """The disk or the quota is full; the store is as it was before (attributes: `file`, `errno`)."""


class StoreIOError(ChunkstoreError, OSError):
    """The operating system failed in another way (attributes: `file`, `errno`)."""


class StoreUsageError(ChunkstoreError, RuntimeError):
    """A call makes no sense where it was made; the message tells what to call instead."""


class StoreNotSharedError(StoreUsageError, RuntimeError):
    """A worker does not see the store that it is to record in (attributes: `driver`, `worker`, `run_id`, `location`).

    Those say who hands the work out and who was to do it, as `process 12 on node3`; which run is meant; and where the
    worker looked for it.
    """


class RunLivesError(ChunkstoreError, RuntimeError):
    """A run cannot be resumed while somebody still records it (attributes: `run_id`, `host`, `pid`; 0 if unknown)."""


class WorkerDiedError(ChunkstoreError, RuntimeError):
    """The process that ran a branch ended without an answer (attribute: `branch`)."""


class BranchFailedError(ChunkstoreError, RuntimeError):
    """Some branches of a `map` or `parallel` failed; the others went on and finished.

    Attributes:
        step: internal name of the composite step.
        failures: for each failed branch, its internal name and the exception it ended with.
        results: what the branches returned, in the order of the items; None where a branch failed. A dict by branch
            name for `parallel`.
    """

    step: str
    failures: dict[str, BaseException]
    results: Any

"""The run log for parallel Python: plain JSON chunks in a folder, safe for any number of writers, with no server.

>>> import chunkstore
>>> store = chunkstore.open_store("buffered")
>>> _ = store.create_run_log("first")
>>> store.add_step_log("first", chunkstore.StepLog(name="load", internal_name="load", status="SUCCESS"))
>>> list(store.get_run_log("first").steps)
['load']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chunkstore.config import open_store
from chunkstore.errors import (
    BranchFailedError,
    BranchLogNotFoundError,
    ChunkstoreError,
    ConfigurationError,
    CorruptChunkError,
    DataNotFoundError,
    InvalidNameError,
    InvalidValueError,
    LockTimeoutError,
    RunLogExistsError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreAccessError,
    StoreFullError,
    StoreIOError,
    StoreUsageError,
    UnsupportedFormatError,
    WorkerDiedError,
)
from chunkstore.records.base import MetricPoint
from chunkstore.records.models import (
    BranchLog,
    CodeIdentity,
    DataCatalog,
    Orphans,
    Problem,
    RunLog,
    RunSummary,
    StepAttempt,
    StepLog,
)
from chunkstore.stores.base import Recorder as _Recorder
from chunkstore.stores.base import Store, StoreOptions
from chunkstore.stores.runs.run_list import RunList as _RunList
from chunkstore.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chunkstore.recording.run import Run, Step, current_run, current_step
    from chunkstore.stores.runs.liveness import Liveness

__all__ = [
    "BranchFailedError",
    "BranchLog",
    "BranchLogNotFoundError",
    "ChunkstoreError",
    "CodeIdentity",
    "ConfigurationError",
    "CorruptChunkError",
    "DataCatalog",
    "DataNotFoundError",
    "InvalidNameError",
    "InvalidValueError",
    "LockTimeoutError",
    "MetricPoint",
    "Orphans",
    "Problem",
    "Run",
    "RunLog",
    "RunLogExistsError",
    "RunLogNotFoundError",
    "RunSummary",
    "Step",
    "StepAttempt",
    "StepLog",
    "StepLogNotFoundError",
    "Store",
    "StoreAccessError",
    "StoreFullError",
    "StoreIOError",
    "StoreOptions",
    "StoreUsageError",
    "UnsupportedFormatError",
    "WorkerDiedError",
    "__version__",
    "current_run",
    "current_step",
    "open_store",
]


def _load_recorder() -> _Recorder:
    from chunkstore.recording.recorder import Recorder  # noqa: PLC0415 - process pools and more, for those who record alone

    return Recorder()


def _run_log_as_html(log: RunLog) -> str:
    from chunkstore.views.pages.notebook import run_log_as_html  # noqa: PLC0415 - for notebooks alone

    return run_log_as_html(log)


def _write_run_log(log: RunLog, printer: Any, _cycle: bool) -> None:
    from chunkstore.views.pages.notebook import run_log_as_text  # noqa: PLC0415 - for notebooks and interactive shells alone

    printer.text(run_log_as_text(log))


def _runs_as_html(runs: Sequence[RunSummary], liveness: Mapping[str, Liveness], more: bool) -> str:
    from datetime import datetime, timezone  # noqa: PLC0415 - for notebooks alone

    from chunkstore.views.pages.notebook import run_list_as_html  # noqa: PLC0415 - likewise

    return run_list_as_html(runs, liveness, datetime.now(timezone.utc), more=more)


Store.load_recorder = staticmethod(_load_recorder)
_RunList.as_html = staticmethod(_runs_as_html)
RunLog._repr_html_ = _run_log_as_html  # type: ignore[attr-defined]
RunLog._repr_pretty_ = _write_run_log  # type: ignore[attr-defined]

_RECORDING = {"Run", "Step", "current_run", "current_step"}


def __getattr__(name: str) -> Any:
    """Import what records when somebody asks for it."""
    if name not in _RECORDING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - needed here alone

    value = globals()[name] = getattr(import_module("chunkstore.recording.run"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The run log for parallel Python: plain JSON chunks in a folder, safe for any number of writers, with no server.

>>> import chunkstore
>>> store = chunkstore.open_store("buffered")
>>> _ = store.create_run_log("first")
>>> store.add_step_log("first", chunkstore.StepLog(name="load", internal_name="load", status="SUCCESS"))
>>> list(store.get_run_log("first").steps)
['load']
>>> print(chunkstore.render_tree(store.get_run_log("first")))
first  PROCESSING
└── ✔ load

What is public is in this package itself: `__all__` lists it. Public besides are `chunkstore.testing`, for the tests of
stores and engines of one's own, and `chunkstore.plugins.runnable`, the store for runnable. All other modules are
private: what is in them may change or move with any version.

Importing this package loads what stores need. What records, draws, compares, imports or verifies is loaded when it is
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chunkstore.config import open_store as _open_store
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
    RunLivesError,
    RunLogExistsError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreAccessError,
    StoreFullError,
    StoreIOError,
    StoreNotSharedError,
    StoreUnsupportedError,
    StoreUsageError,
    UnsupportedFormatError,
    WorkerDiedError,
)
from chunkstore.names import PinnedRunId
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import (
    BranchLog,
    CodeIdentity,
    DataCatalog,
    JobLog,
    Orphans,
    Problem,
    RunLog,
    StepAttempt,
    StepLog,
)
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.base import Recorder as _Recorder
from chunkstore.stores.base import Store as _Store
from chunkstore.stores.options import StoreOptions
from chunkstore.stores.runs.liveness import Liveness
from chunkstore.stores.runs.run_list import RunList
from chunkstore.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import ParamSpec, TypeAlias

    from chunkstore.maintenance.checking import Finding, verify
    from chunkstore.maintenance.copying import CopyReport, RunCopy, copy_runs
    from chunkstore.maintenance.getting_data import get_data
    from chunkstore.maintenance.importing import ImportProblem, ImportReport, import_runs
    from chunkstore.maintenance.workers import EngineReport, WorkerReport, check_engine
    from chunkstore.recording.run import Run, Step, current_run, current_step
    from chunkstore.views.compare import RunDiff, compare_runs
    from chunkstore.views.pages import render_tree
    from chunkstore.views.tables import to_arrow, to_pandas
    from chunkstore.views.timeline.gantt import render_timeline
    from chunkstore.views.timeline.page import timeline_page

    # Only here both are known: the stores, and what records with them.
    Store: TypeAlias = _Store[Run]
    _P = ParamSpec("_P")

    def _recording(open_store: Callable[_P, _Store]) -> Callable[_P, Store]: ...

    open_store = _recording(_open_store)
else:
    Store = _Store
    open_store = _open_store

__all__ = [
    "BranchFailedError",
    "BranchLog",
    "BranchLogNotFoundError",
    "ChunkstoreError",
    "CodeIdentity",
    "ConfigurationError",
    "CopyReport",
    "CorruptChunkError",
    "DataCatalog",
    "DataNotFoundError",
    "EngineReport",
    "Finding",
    "ImportProblem",
    "ImportReport",
    "InvalidNameError",
    "InvalidValueError",
    "JobLog",
    "Liveness",
    "LockTimeoutError",
    "MetricPoint",
    "Orphans",
    "PinnedRunId",
    "Problem",
    "Run",
    "RunCopy",
    "RunDiff",
    "RunList",
    "RunLivesError",
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
    "StoreNotSharedError",
    "StoreOptions",
    "StoreUnsupportedError",
    "StoreUsageError",
    "UnsupportedFormatError",
    "WorkerDiedError",
    "WorkerReport",
    "__version__",
    "check_engine",
    "compare_runs",
    "copy_runs",
    "current_run",
    "current_step",
    "get_data",
    "import_runs",
    "open_store",
    "render_timeline",
    "render_tree",
    "timeline_page",
    "to_arrow",
    "to_pandas",
    "verify",
]


def _load_recorder() -> _Recorder[Run]:
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


_Store.load_recorder = staticmethod(_load_recorder)
RunList.as_html = staticmethod(_runs_as_html)
RunLog._repr_html_ = _run_log_as_html  # type: ignore[attr-defined]
RunLog._repr_pretty_ = _write_run_log  # type: ignore[attr-defined]

#: Where that is which is loaded when it is asked for.
_LOADED_WHEN_USED = {
    "CopyReport": "maintenance.copying",
    "EngineReport": "maintenance.workers",
    "Finding": "maintenance.checking",
    "ImportProblem": "maintenance.importing",
    "ImportReport": "maintenance.importing",
    "Run": "recording.run",
    "RunCopy": "maintenance.copying",
    "RunDiff": "views.compare",
    "Step": "recording.run",
    "WorkerReport": "maintenance.workers",
    "check_engine": "maintenance.workers",
    "compare_runs": "views.compare",
    "copy_runs": "maintenance.copying",
    "current_run": "recording.run",
    "current_step": "recording.run",
    "get_data": "maintenance.getting_data",
    "import_runs": "maintenance.importing",
    "render_timeline": "views.timeline.gantt",
    "render_tree": "views.pages",
    "timeline_page": "views.timeline.page",
    "to_arrow": "views.tables",
    "to_pandas": "views.tables",
    "verify": "maintenance.checking",
}


if not TYPE_CHECKING:  # with it, type checkers would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """Load what somebody asks for."""
        module = _LOADED_WHEN_USED.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - needed here alone

        value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

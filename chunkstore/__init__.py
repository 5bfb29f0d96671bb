"""The run log for parallel Python: plain JSON chunks in a folder, safe for any number of writers, with no server.

>>> import chunkstore
>>> store = chunkstore.open_store("buffered")
>>> _ = store.create_run_log("first")
>>> store.add_step_log("first", chunkstore.StepLog(name="load", internal_name="load", status="SUCCESS"))
>>> list(store.get_run_log("first").steps)
['load']
"""

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
from chunkstore.models import (
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
from chunkstore.recording.context import current_run, current_step
from chunkstore.recording.run import Run
from chunkstore.recording.step import Step
from chunkstore.records import MetricPoint
from chunkstore.stores.base import Store, StoreOptions
from chunkstore.version import __version__

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

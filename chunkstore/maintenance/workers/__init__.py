"""Finding out whether the workers of an engine see what their driver sees, by meeting them in its folder.

`examination` sends a question to the workers, through an executor or a command that starts some; `worker` answers it
there, `meeting` is the driver's side of it, and `verdict` says what the answers mean.
"""

from chunkstore.maintenance.workers.examination import check_engine
from chunkstore.maintenance.workers.report import EngineReport, WorkerReport

__all__ = ["EngineReport", "WorkerReport", "check_engine"]

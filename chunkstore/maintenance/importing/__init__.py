"""Moving in: runs that `runnable` (https://pypi.org/project/runnable/) recorded, or another store of chunkstore's.

Four layouts are read, all in one folder if need be:

- one document per run, `<run_id>.json`: runnable's `file-system`;
- a folder per run with `RunLog.json`, which holds the steps, and a `BranchLog-<name>.json` for each branch, which holds
  its steps: runnable's `chunked-fs` of 2025 (0.50);
- a folder per run with a `StepLog-<name>-<ns>.json` and `BranchLog-<name>-<ns>.json` for each record, and a
  `Parameter-<key>.json` for each parameter: runnable's `chunked-fs` of 2024;
- the runs of chunkstore itself.
"""

from chunkstore.maintenance.importing.imports import import_runs
from chunkstore.maintenance.importing.report import ImportProblem, ImportReport

__all__ = ["ImportProblem", "ImportReport", "import_runs"]

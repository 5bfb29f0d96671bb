"""The runs of a store: listing them, telling which are live, and remembering which is which."""

from chunkstore.stores.runs.known_runs import End, KnownRun, KnownRuns
from chunkstore.stores.runs.liveness import (
    LIVE,
    LOST,
    UNKNOWN,
    Liveness,
    Owner,
    judge,
    judge_copy,
    judge_joined,
    judge_left,
)
from chunkstore.stores.runs.run_index import FEW_RUNS, RunIndex, mark_changed, opened_index
from chunkstore.stores.runs.run_list import Candidate, RunList, newest_first, summary_in, summary_of

__all__ = [
    "FEW_RUNS",
    "LIVE",
    "LOST",
    "UNKNOWN",
    "Candidate",
    "End",
    "KnownRun",
    "KnownRuns",
    "Liveness",
    "Owner",
    "RunIndex",
    "RunList",
    "judge",
    "judge_copy",
    "judge_joined",
    "judge_left",
    "mark_changed",
    "newest_first",
    "opened_index",
    "summary_in",
    "summary_of",
]

"""The runs of a store: listing them, telling which are live, and remembering which is which."""

from chunkstore.stores.runs.known_runs import End, KnownRun, KnownRuns
from chunkstore.stores.runs.liveness import LIVE, LOST, UNKNOWN, Liveness, Owner, judge, judge_joined, judge_left
from chunkstore.stores.runs.run_list import Candidate, RunList, newest_first, summary_in, summary_of

__all__ = [
    "LIVE",
    "LOST",
    "UNKNOWN",
    "Candidate",
    "End",
    "KnownRun",
    "KnownRuns",
    "Liveness",
    "Owner",
    "RunList",
    "judge",
    "judge_joined",
    "judge_left",
    "newest_first",
    "summary_in",
    "summary_of",
]

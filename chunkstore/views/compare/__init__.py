"""What differs between runs, and why a step ran again."""

from chunkstore.views.compare.diff import compare_runs
from chunkstore.views.compare.differences import RunDiff

__all__ = ["RunDiff", "compare_runs"]

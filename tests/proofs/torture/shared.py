"""What the scenarios share with the tests, also for the command, for which `tests` is no folder of modules."""

import sys
from pathlib import Path

# Before the imports below, which need it.
sys.path.append(str(Path(__file__).parents[2] / "support"))

from crashing import Writer, holds
from failing_calls import ERRORS, Killing, Once, check_after_kill, check_one_call, exit_code_of, with_files
from operations import ALL_LAYOUTS, ENDED, OPERATIONS, SEALING, View, World, perform, states_of
from upkeep import UPKEEP, Prepared

__all__ = [
    "ALL_LAYOUTS",
    "ENDED",
    "ERRORS",
    "OPERATIONS",
    "SEALING",
    "UPKEEP",
    "Killing",
    "Once",
    "Prepared",
    "View",
    "World",
    "Writer",
    "check_after_kill",
    "check_one_call",
    "exit_code_of",
    "holds",
    "operations_of",
    "perform",
    "states_of",
    "with_files",
]

LEVELS = ("process", "run", "step", ENDED)
#: More calls than most operations make.
MOST_CALLS = 40


def operations_of(layout: str) -> list[str]:
    """Return what can be done in a store of a layout."""
    return list(OPERATIONS) if layout == "document" else [*OPERATIONS, *SEALING]

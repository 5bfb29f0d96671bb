"""What the scenarios share with the tests, also for the command, for which `tests` is no folder of modules."""

import sys
from pathlib import Path

# Before the imports below, which need it.
sys.path.append(str(Path(__file__).parents[1]))

from crashing import Writer, holds
from failing_calls import ERRORS, Killing, Once, check_after_kill, check_one_call, exit_code_of
from operations import ENDED, LAYOUTS, OPERATIONS, View, World, states_of

__all__ = [
    "ENDED",
    "ERRORS",
    "LAYOUTS",
    "OPERATIONS",
    "Killing",
    "Once",
    "View",
    "World",
    "Writer",
    "check_after_kill",
    "check_one_call",
    "exit_code_of",
    "holds",
    "states_of",
]

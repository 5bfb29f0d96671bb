"""The scenarios of `python -m tests.proofs.torture`, by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from .crash_states import read_crash_states
from .exclusion import count_in_every_way
from .faults import fail_calls
from .figures import Figures
from .filesystems import CUTTABLE, KINDS
from .kills import kill_writers
from .kills_at_calls import kill_at_calls
from .kills_of_recordings import kill_recorders
from .kills_of_upkeep import kill_upkeep
from .power_cuts import RUN_LEVEL, STEP, cut_power
from .readers_under_fire import read_under_fire
from .sealing import seal_under_fire

#: The file system of the folder that the command was given.
HERE = "here"

_DOCUMENT = "file-system"
#: A name of the tests' own for `chunked-fs` with that container.
_JOURNAL = "journal"


class Scenario(NamedTuple):
    """Something that the command does again and again, each time with a new seed.

    Attributes:
        function: takes an empty folder, a seed and a size; tells what it did and found. It raises only if it cannot be
            carried out. On a file system that was mounted for it, the folder is a `filesystems.Disk`.
        size: of one round, which should take some seconds.
        file_systems: kinds of `filesystems.KINDS` that are mounted for it, one after the other, or `HERE`.
    """

    function: Callable[[str | os.PathLike[str], int, int], Figures]
    size: int
    file_systems: tuple[str, ...] = (HERE,)


SCENARIOS: dict[str, Scenario] = {
    "kills": Scenario(kill_writers, 500),
    "kills-document": Scenario(partial(kill_writers, store_type=_DOCUMENT), 200),
    "kills-recordings": Scenario(kill_recorders, 40),
    "kills-recordings-document": Scenario(partial(kill_recorders, store_type=_DOCUMENT), 20),
    "cuts-step": Scenario(partial(cut_power, level=STEP), 20, CUTTABLE),
    "cuts-step-document": Scenario(partial(cut_power, level=STEP, store_type=_DOCUMENT), 20, CUTTABLE),
    "cuts-run": Scenario(partial(cut_power, level=RUN_LEVEL), 20, CUTTABLE),
    "cuts-run-document": Scenario(partial(cut_power, level=RUN_LEVEL, store_type=_DOCUMENT), 20, CUTTABLE),
    "readers": Scenario(read_under_fire, 10_000, KINDS),
    "readers-document": Scenario(partial(read_under_fire, store_type=_DOCUMENT), 5_000, KINDS),
    "sealing": Scenario(seal_under_fire, 2_000),
    "exclusion": Scenario(count_in_every_way, 800),
    "exclusion-document": Scenario(partial(count_in_every_way, store_type=_DOCUMENT), 800),
    "faults": Scenario(fail_calls, 2_000),
    "kills-at-calls": Scenario(kill_at_calls, 1_000),
    "kills-upkeep": Scenario(kill_upkeep, 200),
    "crash-states": Scenario(read_crash_states, 20),
    "crash-states-journal": Scenario(partial(read_crash_states, store_type=_JOURNAL), 20),
    "crash-states-document": Scenario(partial(read_crash_states, store_type=_DOCUMENT), 20),
}

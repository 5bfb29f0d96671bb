"""How to put a store of your own to the test: `pip install 'chunkstore[testing]'`, then `pytest test_own_store.py`.

The store here keeps the runs of each team in a folder of the team's own.
"""

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from chunkstore import ChunkstoreError, StepLog
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import SYSTEM, Syscalls
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing import FaultySyscalls, StoreConformance
from chunkstore.testing.crash_states import MODELS, crash_states
from chunkstore.testing.system_trace import record, why_no_trace


class TeamStore(ChunkedStore):
    """The store that is put to the test."""

    def __init__(self, folder: Path, team: str, syscalls: Syscalls = SYSTEM) -> None:
        super().__init__(DirectoryBackend(folder / team, durability="step", syscalls=syscalls))
        self.folder, self.team = folder, team

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return TeamStore, (self.folder, self.team)


class TestTeamStore(StoreConformance):
    """Everything that a store promises: about 240 tests."""

    @pytest.fixture
    def open_another(self, tmp_path: Path) -> Callable[[], TeamStore]:
        return lambda: TeamStore(tmp_path, "blue")


def test_whichever_system_call_fails_what_was_recorded_is_there(tmp_path: Path) -> None:
    """Let the first call of all fail, the second and so on, until there are no more."""
    TeamStore(tmp_path, "blue").create_run_log("run")
    acknowledged = []
    for number in itertools.count(1):
        syscalls = FaultySyscalls(errno.ENOSPC, at=number)
        try:
            TeamStore(tmp_path, "blue", syscalls).add_step_log("run", StepLog(name="s", internal_name=f"s{number}"))
            acknowledged.append(f"s{number}")
        except ChunkstoreError:
            pass  # nobody was told that the step is there
        if not syscalls.failed:
            break
    assert set(acknowledged) <= set(TeamStore(tmp_path, "blue").get_run_log("run", strict=True).steps)
    assert acknowledged


@pytest.mark.skipif(why_no_trace() is not None, reason=str(why_no_trace()))
@pytest.mark.parametrize("model", MODELS)
def test_whatever_a_loss_of_power_leaves_what_was_recorded_is_there(tmp_path: Path, model: str) -> None:
    """Build every state that the disk may be in, and read it."""
    written, lost_power = tmp_path / "written", tmp_path / "lost power"
    written.mkdir()

    def write(acknowledge: Callable[[str], None]) -> None:
        store = TeamStore(written, "blue")
        store.create_run_log("run")
        for name in ("a", "b", "a"):
            store.add_step_log("run", StepLog(name=name, internal_name=name))
            acknowledge(name)

    for state in crash_states(record(write, written), model):
        state.write_to(lost_power)
        if state.acknowledged:
            assert set(state.acknowledged) <= set(TeamStore(lost_power, "blue").get_run_log("run").steps)

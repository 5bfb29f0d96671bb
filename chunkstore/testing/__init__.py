"""For tests of stores, chunkstore's own and yours.

- `StoreConformance`: everything that a store promises, as tests of pytest; see its docstring.
- `strategies`: hypothesis strategies for run logs, steps, branches and their values.
- `CountingSyscalls`, `FaultySyscalls`, `KillingSyscalls`, `InterruptedSyscalls`: system calls that are counted, of
  which the Nth fails, writes too little, kills the process or is where the user presses Ctrl-C. Give them to
  `DirectoryBackend(syscalls=…)`.
- `system_trace.record` and `crash_states.crash_states`: every state that a disk may be in after a loss of power.

`examples/test_own_store.py` uses all of these. Needs `pip install 'chunkstore[testing]'`.
"""

import pytest

for _module in ("runs", "records", "updates", "values", "sharing", "sealing", "base"):
    pytest.register_assert_rewrite(f"{__name__}.suite_{_module}")

from chunkstore.testing.conformance import StoreConformance  # noqa: E402 - rewriting comes before the import
from chunkstore.testing.faults import (  # noqa: E402 - as above
    CountingSyscalls,
    FaultySyscalls,
    InterruptedSyscalls,
    KillingSyscalls,
)

__all__ = ["CountingSyscalls", "FaultySyscalls", "InterruptedSyscalls", "KillingSyscalls", "StoreConformance"]

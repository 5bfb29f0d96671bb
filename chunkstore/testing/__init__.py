"""For tests of stores and engines, chunkstore's own and yours.

- `StoreConformance`: everything that a store promises, as tests of pytest; see its docstring.
- `BackendConformance`: everything that stores expect of a back end, of yours as well; `plain_backend.PlainBackend` has
  what every one has, and nothing else.
- `EngineConformance`: everything that `map` and `parallel` promise, on an engine of yours; likewise.
- `strategies`: hypothesis strategies for run logs, steps, branches and their values.
- `CountingSyscalls`, `FaultySyscalls`, `KillingSyscalls`, `InterruptedSyscalls`: system calls that are counted, of
  which the Nth fails, writes too little, kills the process or is where the user presses Ctrl-C. Give them to
  `DirectoryBackend(syscalls=…)`.
- `proxy.Proxy`: between a client and an object store; requests are counted, delayed, throttled and lost on purpose.
- `system_trace.record` and `crash_states.crash_states`: every state that a disk may be in after a loss of power.

`examples/test_own_store.py` uses most of these. Needs `pip install 'chunkstore[testing]'`; what workers of an engine
import of this package does not.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chunkstore.testing.conformance import StoreConformance
    from chunkstore.testing.engine_conformance import EngineConformance
    from chunkstore.testing.faults import CountingSyscalls, FaultySyscalls, InterruptedSyscalls, KillingSyscalls
    from chunkstore.testing.suite_capabilities import BackendConformance

__all__ = [
    "BackendConformance",
    "CountingSyscalls",
    "EngineConformance",
    "FaultySyscalls",
    "InterruptedSyscalls",
    "KillingSyscalls",
    "StoreConformance",
]

_SUITES = (
    *("runs", "records", "updates", "values", "sharing", "sealing", "base"),
    *("backend", "capabilities"),
    *("engine_results", "engine_failures", "engine_drivers", "engine_base"),
)

# Before any of them is imported, by whatever name; workers of engines have no pytest.
if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.suite_{suite}" for suite in _SUITES))


if not TYPE_CHECKING:  # with it, type checkers would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """Load what somebody asks for."""
        if name == "StoreConformance":
            from chunkstore.testing import conformance as module  # noqa: PLC0415 - it imports pytest and hypothesis
        elif name == "BackendConformance":
            from chunkstore.testing import suite_capabilities as module  # noqa: PLC0415 - it imports pytest
        elif name == "EngineConformance":
            from chunkstore.testing import engine_conformance as module  # noqa: PLC0415 - it imports pytest
        elif name in __all__:
            from chunkstore.testing import faults as module  # noqa: PLC0415 - few need it
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(module, name)

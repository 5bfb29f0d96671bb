"""For tests of stores: a conformance suite, hypothesis strategies, system calls that fail.

Needs `pip install 'chunkstore[testing]'`.
"""

import pytest

for _module in ("runs", "records", "updates", "values", "sharing", "base"):
    pytest.register_assert_rewrite(f"{__name__}.suite_{_module}")

from chunkstore.testing.conformance import StoreConformance  # noqa: E402 - rewriting comes before the import
from chunkstore.testing.faults import (  # noqa: E402 - as above
    CountingSyscalls,
    FaultySyscalls,
    InterruptedSyscalls,
    KillingSyscalls,
)

__all__ = ["CountingSyscalls", "FaultySyscalls", "InterruptedSyscalls", "KillingSyscalls", "StoreConformance"]

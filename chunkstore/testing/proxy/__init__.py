"""Between a client and a server that speaks HTTP: requests counted, delayed, throttled, and lost on purpose.

`python -m chunkstore.testing.proxy http://127.0.0.1:8333 --latency 0.03` is one in a process of its own.
"""

from chunkstore.testing.proxy.faults import (
    CUT_REPLY,
    DROPPED,
    EVERY_FAULT,
    LATE,
    LOST_REPLY,
    REPEATED,
    RESET,
    RESET_REPLY,
    SILENCE,
    SILENCE_AFTER,
    TORN_REQUEST,
    Fault,
    answered,
    refused,
)
from chunkstore.testing.proxy.requests import Counted, Request
from chunkstore.testing.proxy.serving import PlannedFault, Proxy

__all__ = [
    "CUT_REPLY",
    "DROPPED",
    "EVERY_FAULT",
    "LATE",
    "LOST_REPLY",
    "REPEATED",
    "RESET",
    "RESET_REPLY",
    "SILENCE",
    "SILENCE_AFTER",
    "TORN_REQUEST",
    "Counted",
    "Fault",
    "PlannedFault",
    "Proxy",
    "Request",
    "answered",
    "refused",
]

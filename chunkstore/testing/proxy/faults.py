"""What can happen to a request and its reply on the way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Forwarded(Enum):
    """How much of a request reaches the server."""

    NEVER = "never"
    HALF = "half"
    ONCE = "once"
    TWICE = "twice"
    LATE = "late"


class Returned(Enum):
    """What the client gets of the server's reply."""

    WHOLE = "whole"
    HALF = "half"
    CLOSED = "closed"
    RESET = "reset"
    SILENCE = "silence"


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes:
        name: what it is called in messages.
        forwarded: how much of it reaches the server.
        returned: what the client gets.
        status: an answer of the proxy's own in place of the server's, 0 for none.
        code: what that answer gives as its reason.
    """

    name: str
    forwarded: Forwarded
    returned: Returned = Returned.WHOLE
    status: int = 0
    code: str = ""

    def __str__(self) -> str:
        """Return its name."""
        return self.name


#: The connection is closed before the request has reached the server.
DROPPED = Fault("dropped", Forwarded.NEVER, Returned.CLOSED)
#: The connection is reset before the request has reached the server.
RESET = Fault("reset", Forwarded.NEVER, Returned.RESET)
#: Half of the request reaches the server.
TORN_REQUEST = Fault("torn request", Forwarded.HALF, Returned.CLOSED)
#: The server has done it; its reply is lost, and the connection is closed.
LOST_REPLY = Fault("lost reply", Forwarded.ONCE, Returned.CLOSED)
#: The server has done it; the connection is reset.
RESET_REPLY = Fault("reset reply", Forwarded.ONCE, Returned.RESET)
#: The server has done it; half of its reply arrives.
CUT_REPLY = Fault("cut reply", Forwarded.ONCE, Returned.HALF)
#: Nothing is answered, until the client gives up; the server has not seen it.
SILENCE = Fault("silence", Forwarded.NEVER, Returned.SILENCE)
#: Nothing is answered, until the client gives up; the server has done it.
SILENCE_AFTER = Fault("silence after", Forwarded.ONCE, Returned.SILENCE)
#: The server gets it twice; the second reply is returned. Some clients and middle boxes try again by themselves.
REPEATED = Fault("repeated", Forwarded.TWICE)
#: The connection is closed; the server gets the request when `Proxy.deliver_late` is called.
LATE = Fault("late", Forwarded.LATE, Returned.CLOSED)


def refused(status: int, code: str = "") -> Fault:
    """Return the fault that the proxy answers by itself, and the server sees nothing."""
    return Fault(f"refused {status} {code}".rstrip(), Forwarded.NEVER, status=status, code=code)


def answered(status: int, code: str = "") -> Fault:
    """Return the fault that the server does what is asked, and the proxy answers something else."""
    return Fault(f"answered {status} {code}".rstrip(), Forwarded.ONCE, status=status, code=code)


#: One of each kind that ends by itself; a client need not wait for a time-out.
EVERY_FAULT = (
    DROPPED,
    RESET,
    TORN_REQUEST,
    LOST_REPLY,
    RESET_REPLY,
    CUT_REPLY,
    REPEATED,
    refused(409, "ConditionalRequestConflict"),
    refused(500, "InternalError"),
    refused(503, "SlowDown"),
    answered(409, "ConditionalRequestConflict"),
    answered(500, "InternalError"),
    answered(503, "SlowDown"),
)

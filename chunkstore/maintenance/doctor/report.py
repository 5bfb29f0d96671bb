"""What an examination of a file system tells."""

from __future__ import annotations

import msgspec

#: It does what is needed; it does not, but chunkstore works around it or needs it for some things only; it does not,
#: and chunkstore relies on it; it is merely told.
GOOD, CAUTION, BAD, TOLD = "good", "caution", "bad", "told"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was tried.

    Attributes:
        name: what was tried, a short identifier.
        title: the same for people.
        result: `good`, `caution`, `bad` or `told`.
        detail: what was seen.
    """

    name: str
    title: str
    result: str
    detail: str


class Guarantee(msgspec.Struct, frozen=True, kw_only=True):
    """Something that users rely on.

    Attributes:
        promise: what they rely on.
        result: `good` if it holds there, `caution` if only with a condition, `bad` if it does not.
        reason: the condition, or why it does not.
    """

    promise: str
    result: str
    reason: str = ""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A value in the configuration that fits.

    Attributes:
        key: the key.
        value: the value.
        reason: why.
    """

    key: str
    value: str
    reason: str


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What something takes in requests, on average, and in money.

    Attributes:
        action: what is done.
        puts: requests that write.
        gets: requests that read.
        lists: requests that list.
        deletes: requests that delete.
        dollars: what they cost together; None where nobody knows the prices.
    """

    action: str
    puts: float
    gets: float
    lists: float
    deletes: float
    dollars: float | None = None


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `chunkstore doctor` found.

    Attributes:
        folder: where it was tried; the URL of a bucket.
        file_system: its type; that of the service for a bucket; empty if the system does not tell.
        description: what kind of file system, or of bucket, that is.
        checks: all that was tried.
        guarantees: what holds there.
        settings: what to configure.
        holds: whether everything holds that chunkstore relies on.
        costs: of a bucket, what recording and reading take.
        prices: whose prices these are, and from when.
    """

    folder: str
    file_system: str
    description: str
    checks: list[Check]
    guarantees: list[Guarantee]
    settings: list[Setting]
    holds: bool
    costs: list[Cost] = []
    prices: str = ""

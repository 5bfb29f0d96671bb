"""Whether somebody still records a run that says PROCESSING.

Whoever starts a run holds a lock on a file beside it, as long as it lives; the kernel frees the lock when it dies. So
no heartbeat is needed, and a slow run is never taken for a dead one. A lock tells of processes on the same kernel; of
those on other hosts only where the file system shares its locks.

In an object store there is no kernel to ask. There, whoever records a run renews a file beside it from time to time,
and is taken for dead when it has been silent for long, by the clock of the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from chunkstore.backends.disk.mounts import boot_id, process_identity
from chunkstore.backends.mount import Mount
from chunkstore.clock import utc_now
from chunkstore.records.copied import CopyNote

LIVE, LOST, UNKNOWN = "LIVE", "LOST", "UNKNOWN"
_OF_ONE_HOST = "host"


class Owner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who records a run, as it has written about itself.

    Attributes:
        pid: its process, as its host counts them.
        host: the name of its host.
        since: when it began, in UTC.
        boot: which start of which kernel it runs on; empty if that does not tell.
        process: what tells it from every other process of that kernel; empty if that does not tell.
        locks: `host` if its locks may be seen on its host alone.
        start: what its start is called in the attempts that it records; empty if it has not said.
        job: of which job of a batch system it is part, as in those.
    """

    pid: int = 0
    host: str = ""
    since: str = ""
    boot: str = ""
    process: str = ""
    locks: str = ""
    start: str = ""
    job: str = ""

    @classmethod
    def here(cls, mount: Mount | None = None, *, start: str = "", job: str = "") -> Owner:
        """Return this process.

        Args:
            mount: where its locks are, as far as that is known.
            start: what it is called in the attempts that it records.
            job: of which job of a batch system it is part.
        """
        return cls(
            pid=os.getpid(),
            host=os.uname().nodename,
            since=utc_now(),
            boot=boot_id(),
            process=process_identity(os.getpid()),
            locks="" if mount is None or mount.is_local or mount.has_shared_locks else _OF_ONE_HOST,
            start=start,
            job=job,
        )

    @property
    def who(self) -> str:
        """What people call it."""
        return f"process {self.pid} on {self.host}" if self.host else "a process"

    def came_back_as(self, other: Owner) -> bool:
        """Tell whether the same job of a batch system was started again since; one start may have several processes."""
        return self.job != other.job and self.job.partition(", ")[0] == other.job.partition(", ")[0]

    @classmethod
    def read(cls, data: bytes) -> Owner:
        """Return what a file says, as far as it says anything."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return cls()


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether somebody still records a run.

    Attributes:
        state: `LIVE`; `LOST`, if the process that recorded it has died; `UNKNOWN`, if nobody can tell.
        why: in a sentence, how that is known, or why it is not.
        host: the name of the host where it was or is recorded; empty if not known.
        pid: the process there; 0 if not known.
        last_heard: when anything was written for the run last, in UTC; empty while it is live or if not known. In an
            object store, when the process that records it was heard last, also while it is live.
    """

    state: str
    why: str
    host: str = ""
    pid: int = 0
    last_heard: str = ""


def judge_joined(
    owners: list[Owner],
    dead: list[Owner],
    mount: Callable[[], Mount | None],
    *,
    silence: float = 0.0,
    last_heard: str = "",
) -> Liveness:
    """Return what it means that processes which have joined a run hold their locks.

    Args:
        owners: they.
        dead: others that have joined it and hold none, whose work nobody has done since.
        mount: returns where the locks are, as far as that is known.
        silence: of those that renew files, after how many seconds they are taken for dead; 0 for those with locks.
        last_heard: of those that renew files, when any was heard last.
    """
    first = owners[0]
    dead = [each for each in dead if silence or _judge_free_lock(each, each.who, mount)[0] == LOST]
    who = first.who if len(owners) == 1 else f"{len(owners):,} processes"
    died = f" {_have_ended(dead, silence)}." if dead else ""
    why = f"It is recorded by {who}.{died}"
    return Liveness(state=LIVE, why=why, host=first.host, pid=first.pid, last_heard=last_heard)


def judge_left(
    dead: list[Owner],
    *,
    has_open_work: bool,
    mount: Callable[[], Mount | None],
    last_heard: str,
    silence: float = 0.0,
) -> Liveness:
    """Return what it means that no process records a run which some had joined.

    Args:
        dead: those that have died, whose work nobody has done since; some others have died as well.
        has_open_work: whether they had begun something that has not ended.
        mount: returns where the locks are, as far as that is known.
        last_heard: when anything was written for the run last.
        silence: as of `judge_joined`.
    """
    if not dead:
        why = "What those had begun that died has been done since; others may join it, or finish it."
        return Liveness(state=LIVE, why=why, last_heard=last_heard)
    first = dead[0]
    state, why = (LOST, "") if silence else _judge_free_lock(first, first.who, mount)
    if state == LOST:
        state = LOST if has_open_work else UNKNOWN
        now = "nobody has done their work since" if has_open_work else "others may still join it"
        why = f"{_have_ended(dead, silence)}; {now}."
    return Liveness(state=state, why=why, host=first.host, pid=first.pid, last_heard=last_heard)


def _have_ended(dead: list[Owner], silence: float) -> str:
    others = f" and {len(dead) - 1:,} more" if len(dead) > 1 else ""
    verb = "have" if others else "has"
    what = _silent(silence) if silence else "ended without leaving it"
    return f"{dead[0].who[0].upper()}{dead[0].who[1:]}{others}, which recorded it, {verb} {what}"


def _silent(seconds: float) -> str:
    return f"not been heard for more than {seconds:g} s"


def judge_copy(note: CopyNote, last_heard: str) -> Liveness:
    """Return what is known of a run that nobody records here, as it is a copy of one elsewhere.

    Args:
        note: of which run it is a copy.
        last_heard: when anything was written for the copy last.
    """
    if note.partial:
        why = f"It is a part of a run in {note.source}, and is being copied, or that was stopped; copy it again."
    else:
        why = f"It is a copy of a run in {note.source}, which had not ended when it was copied; copy it again."
    return Liveness(state=UNKNOWN, why=why, last_heard=last_heard)


def judge(
    owner: Owner | None,
    is_held: bool | None,
    mount: Callable[[], Mount | None],
    last_heard: str = "",
    *,
    silence: float = 0.0,
) -> Liveness:
    """Return what can be known of a run's owner.

    Args:
        owner: what it has written about itself; None if nobody has.
        is_held: whether somebody holds its lock; None if that cannot be looked at.
        mount: returns where the lock is, as far as that is known.
        last_heard: when anything was written for the run last.
        silence: as of `judge_joined`.
    """
    if owner is None:
        return Liveness(
            state=UNKNOWN,
            why="No process says that it records this run: others may join it, or another tool has created it.",
            last_heard=last_heard,
        )
    who = f"process {owner.pid} on {owner.host}" if owner.host else "the process that recorded it"
    if is_held:
        why = f"It is recorded by {who}."
        return Liveness(state=LIVE, why=why, host=owner.host, pid=owner.pid, last_heard=last_heard)
    state, why = UNKNOWN, f"It was recorded by {who}, and whether that lives cannot be looked at."
    if is_held is False:
        silent = LOST, f"It was recorded by {who}, which has {_silent(silence)}."
        state, why = silent if silence else _judge_free_lock(owner, who, mount)
    return Liveness(state=state, why=why, host=owner.host, pid=owner.pid, last_heard=last_heard)


def _judge_free_lock(owner: Owner, who: str, find_mount: Callable[[], Mount | None]) -> tuple[str, str]:
    """Return what it means that nobody holds a lock, as far as it can be seen from here."""
    here = Owner.here()
    mount = find_mount()
    if owner.boot and owner.boot == here.boot:
        return _judge_on_this_kernel(owner, who, mount, here)
    if owner.host == here.host or (not owner.host and mount is not None and mount.is_local):
        ended = "been started anew since" if owner.boot else "ended without finishing it"
        return LOST, f"It was recorded by {who}, which has {ended}."
    if mount is not None and _shows_locks(owner, mount):
        return LOST, f"It was recorded by {who}, which holds its lock on this {mount.type} no more."
    if mount is not None and mount.is_local:
        return (
            UNKNOWN,
            f"It was recorded by {who}; this is {here.host}: the folder was copied, or the host renamed.",
        )
    kind = f"a {mount.type} mount" if mount else "this file system"
    hidden = "are kept to itself" if owner.locks == _OF_ONE_HOST else f"may not be seen through {kind}"
    return UNKNOWN, f"It was recorded by {who}, and locks of that host {hidden}."


def _judge_on_this_kernel(owner: Owner, who: str, mount: Mount | None, here: Owner) -> tuple[str, str]:
    """As `_judge_free_lock`; the lock may be that of another mount of the same server, but a kernel knows who lives."""
    is_alive = False if mount is None or mount.is_local else _is_alive(owner, here)
    if is_alive or (is_alive is None and not (mount and _shows_locks(owner, mount))):
        return UNKNOWN, f"It was recorded by {who}, which may live: its lock would not be seen here for sure."
    return LOST, f"It was recorded by {who}, which has ended without finishing it."


def _shows_locks(owner: Owner, mount: Mount) -> bool:
    """Tell whether a lock of an owner, wherever that is, is surely seen through a mount of this host."""
    return mount.has_shared_locks and owner.locks != _OF_ONE_HOST


def _is_alive(owner: Owner, here: Owner) -> bool | None:
    """Tell whether an owner on the kernel of this process lives; None if it is not seen from here."""
    if not owner.process or owner.process.partition(":")[0] != here.process.partition(":")[0]:
        return None  # of an older version, or in another container
    return process_identity(owner.pid) == owner.process

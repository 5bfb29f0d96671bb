"""What can be tried of an NFS server from one host: whether it is asked, of what others have done and for locks.

The kernel counts what it asks the server for, see `/proc/self/mountstats`. So what a mount option does is seen,
whatever it is called.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

from chunkstore.backends.disk.freshness import look_afresh
from chunkstore.backends.disk.locks import SidecarLock
from chunkstore.backends.mount import Mount
from chunkstore.maintenance.doctor.probes import Place
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, TOLD, Check

_COUNTED = "/proc/self/mountstats"
_SERVED = {"nfs", "nfs4"}
_LOOKS = {"GETATTR", "LOOKUP", "ACCESS", "OPEN", "OPEN_NOATTR", "READDIR", "READDIRPLUS"}
_LOCKS = {"LOCK", "LOCKU"}
#: What to mind of how it is mounted: options that begin so, and what they do.
_OPTIONS = (
    ("soft", CAUTION, "what takes the server long fails, also a write; mount it `hard`"),
    ("noac", TOLD, "it costs time and brings nothing here: what is read is asked for afresh anyhow"),
)


def tried_at_server(place: Place, mount: Mount | None, counted: str = _COUNTED) -> Iterator[Check]:
    """Try whether a server is asked, where there is one.

    Args:
        place: where to try it.
        mount: what is mounted there; None if the system does not tell.
        counted: the file that says how often the server was asked for what.
    """
    if mount is None or mount.type not in _SERVED:
        return
    looks = _asked(mount, counted, _LOOKS, lambda: look_afresh(place.syscalls, place.path))
    title = "Whoever opens a folder sees what other hosts have done"
    if looks is None:
        yield _check("fresh-look", title, TOLD, "The system does not tell whether the server is asked.")
    elif looks:
        yield _check("fresh-look", title, GOOD, "the server is asked")
    else:
        yield _check(
            "fresh-look",
            title,
            BAD,
            "The server is not asked: what others record is found late. Mount it without `nocto`.",
        )
    yield from _locking(place, mount, counted)
    for option, result, meaning in _OPTIONS:
        found = sorted(mount.options & {option, f"{option}err"})
        if found:
            yield _check(
                f"option-{option}", f"Mounted with `{found[0]}`", result, f"{meaning[0].upper()}{meaning[1:]}."
            )


def _locking(place: Place, mount: Mount, counted: str) -> Iterator[Check]:
    folder = place.opened()
    lock = SidecarLock(place.syscalls, folder.fd, "server-lock", os.path.join(place.path, "server-lock"))

    def take() -> None:
        lock.acquire(1.0)
        lock.release()

    title = "Locks are those of the server, for all hosts"
    asked = _asked(mount, counted, _LOCKS, take)
    if asked:
        yield _check("server-lock", title, GOOD, "the server is asked")
    elif asked is not None and mount.type == "nfs4":  # before, another protocol asks for locks
        yield _check("server-lock", title, BAD, "The server is not asked: two hosts could hold one lock.")


def _asked(mount: Mount, counted: str, names: set[str], action: Callable[[], None]) -> int | None:
    """Return how often the server is asked for some things while something is done; None if nobody counts."""
    before = _counts(mount, counted)
    action()
    after = _counts(mount, counted)
    return sum((after - before)[name] for name in names) if before else None


def _counts(mount: Mount, counted: str) -> Counter[str]:
    """Return how often the server was asked for what through a mount so far; of several in one place, by the last."""
    found: Counter[str] = Counter()
    is_it = False
    try:
        with open(counted, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                words = line.split()
                if line.startswith("device "):
                    is_it = f" mounted on {mount.path} with fstype {mount.type}" in line
                    found = Counter() if is_it else found
                elif is_it and len(words) > 1 and words[0].endswith(":") and words[0][:-1].isupper():
                    found[words[0][:-1]] = int(words[1])
    except (OSError, ValueError):
        return Counter()
    return found


def _check(name: str, title: str, result: str, detail: str) -> Check:
    return Check(name=name, title=title, result=result, detail=detail)

"""What kind of file system is mounted somewhere, in plain words."""

from __future__ import annotations

import msgspec

from chunkstore.backends.mount import Mount
from chunkstore.maintenance.doctor.report import CAUTION, GOOD, TOLD, Check

_IN_MEMORY = {"tmpfs", "ramfs"}
_OF_CONTAINERS = {"overlay", "aufs"}
_OF_WINDOWS = {"cifs", "smb3", "smbfs"}
_OF_HOSTS = {"9p", "virtiofs", "vboxsf", "drvfs"}
_WITHOUT_LINKS = {"vfat", "exfat", "msdos"}


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a folder lies.

    Attributes:
        type: the type of the file system; empty if the system does not tell.
        description: what that is.
        hosts: whether other hosts can write there at the same time: `one`, `many`, or `unknown`.
        locks_are_shared: whether locks of other hosts are seen.
        outlives_power: whether what is there survives that the host is switched off.
        caution: what to mind; empty for nothing.
    """

    type: str = ""
    description: str = "a file system of which the system tells nothing"
    hosts: str = "unknown"
    locks_are_shared: bool = False
    outlives_power: bool = True
    caution: str = ""

    def as_check(self) -> Check:
        """Return it as something that was looked at."""
        result = CAUTION if self.caution else GOOD if self.hosts == "one" or self.locks_are_shared else TOLD
        return Check(
            name="mount", title="What is mounted there", result=result, detail=self.caution or self.description
        )


def surroundings_of(mount: Mount | None) -> Surroundings:
    """Return what can be said of what is mounted somewhere; None if the system does not tell."""
    if mount is None:
        return Surroundings()
    kind = mount.type
    if kind in _IN_MEMORY:
        return Surroundings(
            type=kind,
            description="kept in memory",
            hosts="one",
            outlives_power=False,
            caution="It is kept in memory: everything is gone when this host restarts.",
        )
    if kind in _OF_CONTAINERS:
        return Surroundings(
            type=kind,
            description="the inside of a container",
            hosts="one",
            caution="It is the inside of a container, and goes with it. Mount a volume for what shall stay.",
        )
    if kind in _WITHOUT_LINKS:
        return Surroundings(type=kind, description=f"a {kind} disk of this host", hosts="one")
    if mount.is_local:
        return Surroundings(type=kind, description="a disk of this host alone", hosts="one")
    return _shared(mount)


def _shared(mount: Mount) -> Surroundings:
    kind = mount.type
    if mount.has_shared_locks:
        return Surroundings(
            type=kind,
            description=f"a network file system, {mount.source}; locks are seen by all hosts",
            hosts="many",
            locks_are_shared=True,
        )
    local = sorted(option for option in mount.options if option in ("nolock", "noflock") or option.startswith("local"))
    if local:
        return Surroundings(
            type=kind,
            description="a network file system",
            hosts="many",
            caution=f"Locks are kept on this host alone (mounted with {', '.join(local)}): changes that two hosts make "
            "to the same record at once can be lost. Mount it without that, or record each run from one host.",
        )
    if kind in _OF_WINDOWS:
        what = "a share of a Windows or Samba server"
    elif kind in _OF_HOSTS:
        what = "a folder of the host that this virtual machine runs on"
    elif kind.startswith("fuse"):
        what = "a file system in user space (FUSE)"
    else:
        what = f"a file system of type {kind}"
    return Surroundings(
        type=kind,
        description=what,
        caution=f"It is {what}: whether another host sees locks and new files at once cannot be told from here. Try "
        "from two hosts, or record each run from one.",
    )

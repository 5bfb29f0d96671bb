"""What is known of the file system that files are on."""

from __future__ import annotations

import msgspec

#: File systems that one host alone has mounted, so that no lock of another host is needed.
_LOCAL = frozenset(
    "apfs bcachefs btrfs ext2 ext3 ext4 f2fs hfs jfs ntfs3 overlay ramfs reiserfs tmpfs ufs vfat exfat xfs zfs".split()
)
#: File systems of many hosts on which each sees at once what the others do.
_COHERENT = frozenset("ceph gfs2 gpfs lustre ocfs2".split())
#: File systems whose `flock` is seen by all hosts, unless they are mounted with one of the options.
_SHARED: dict[str, frozenset[str]] = {
    "nfs4": frozenset({"nolock", "local_lock=all", "local_lock=flock"}),
    "nfs": frozenset({"nolock", "local_lock=all", "local_lock=flock"}),
    "ceph": frozenset(),
    "gfs2": frozenset({"localflocks"}),
    "gpfs": frozenset(),
    "lustre": frozenset({"localflock", "noflock"}),
    "ocfs2": frozenset({"localflocks"}),
}


class Mount(msgspec.Struct, frozen=True):
    """A mounted file system.

    Attributes:
        path: where it is mounted.
        type: its type, `ext4` or `nfs4`.
        source: what is mounted there, a device or a server's folder.
        options: all options of the mount and of the file system.
    """

    path: str
    type: str
    source: str
    options: frozenset[str]

    @property
    def is_local(self) -> bool:
        """Whether no other host can have it mounted."""
        return self.type in _LOCAL

    @property
    def is_coherent(self) -> bool:
        """Whether many hosts can have it mounted, and each sees at once what the others do."""
        return self.type in _COHERENT

    @property
    def has_shared_locks(self) -> bool:
        """Whether locks of all hosts that have it mounted are surely seen here."""
        without = _SHARED.get(self.type)
        return without is not None and not without & self.options

"""Doctor finds out whether an NFS server is asked, of what others have done and for locks, and says what options do."""

import os

import pytest

from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.backends.mount import Mount
from chunkstore.maintenance.doctor.file_server import tried_at_server
from chunkstore.maintenance.doctor.probes import Place
from chunkstore.maintenance.doctor.surroundings import surroundings_of
from chunkstore.maintenance.doctor.verdict import guarantees

COUNTED = """device rootfs mounted on / with fstype rootfs
device other:/ mounted on /m with fstype nfs4 statvers=1.1
\tper-op statistics
\t     GETATTR: 7777 1 0 1 1 0 0 0 0
device server:/ mounted on /m with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2
\tage:\t5
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t     GETATTR: {looks} 6 0 1 1 0 0 0 0
\t        LOCK: {locks} 6 0 1 1 0 0 0 0
"""


class Asking(Syscalls):
    """A kernel that asks its server about a folder that is opened, and for locks, unless it does not."""

    def __init__(self, counted, *, for_looks=True, for_locks=True):
        self._counted = counted
        self._each = (for_looks, for_locks)
        self._asked = [3, 4]
        self._count(0, 0)

    def _count(self, looks, locks):
        self._asked[0] += looks * self._each[0]
        self._asked[1] += locks * self._each[1]
        self._counted.write_text(COUNTED.format(looks=self._asked[0], locks=self._asked[1]))

    def open(self, path, flags, dir_fd=None):
        self._count(bool(flags & os.O_DIRECTORY), path == "server-lock")
        return super().open(path, flags, dir_fd)


def mounted(options="rw", kind="nfs4"):
    return Mount("/m", kind, "server:/", frozenset(options.split(",")))


def examined(tmp_path, mount, **asked):
    counted = tmp_path / "mountstats"
    found = tried_at_server(Place(Asking(counted, **asked), str(tmp_path)), mount, str(counted))
    checks = {check.name: check for check in found}
    held = {each.promise: each for each in guarantees(checks, surroundings_of(mount))}
    return checks, held


def test_a_server_that_is_asked_keeps_every_promise(tmp_path):
    checks, held = examined(tmp_path, mounted())
    assert {name: check.result for name, check in checks.items()} == {"fresh-look": "good", "server-lock": "good"}
    assert {each.result for each in held.values()} == {"good"}


def test_a_server_that_is_not_asked_of_a_folder_is_no_place_for_many_hosts(tmp_path):
    checks, held = examined(tmp_path, mounted(), for_looks=False)
    assert checks["fresh-look"].result == "bad"
    assert held["Several hosts can record one run at once"].result == "bad"
    assert "nocto" in held["A read shows everything that was recorded before it"].reason


def test_locks_that_are_not_the_server_s_tell_nothing_of_other_hosts(tmp_path):
    checks, held = examined(tmp_path, mounted(), for_locks=False)
    assert checks["server-lock"].result == "bad"
    assert held["Several hosts can record one run at once"].result == "bad"
    assert held["A run whose process died is told from one that is slow"].result == "caution"


@pytest.mark.parametrize(
    ("options", "result", "word"), [("rw,soft", "caution", "hard"), ("softerr", "caution", "hard")]
)
def test_options_that_break_something_are_told_with_what_to_do(tmp_path, options, result, word):
    checks, _ = examined(tmp_path, mounted(options))
    assert checks["option-soft"].result == result
    assert word in checks["option-soft"].detail


def test_nothing_is_claimed_where_nobody_counts(tmp_path):
    place = Place(Syscalls(), str(tmp_path))
    assert [check.result for check in tried_at_server(place, mounted(), str(tmp_path / "none"))] == ["told"]
    assert list(tried_at_server(place, mounted(kind="ext4"))) == []
    assert list(tried_at_server(place, None)) == []

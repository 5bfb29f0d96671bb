"""What is mounted where a path leads, as far as the operating system tells."""

from __future__ import annotations

import os
import re

from chunkstore.backends.mount import Mount

#: Linux lists them there, see proc_pid_mountinfo(5).
_MOUNTS = "/proc/self/mountinfo"
_NAMESPACE, _PROCESS = "/proc/self/ns/pid", "/proc/{}/stat"
#: Where in the latter, behind the name of the program and its state, it says when the process was started.
_STARTED = 19
#: The states of one that has ended and is not forgotten yet.
_DEAD = {"Z", "X", "x"}
_BOOT = "/proc/sys/kernel/random/boot_id"
_OCTAL = re.compile(r"\\([0-7]{3})")


def mount_of(path: str, mounts: str = _MOUNTS) -> Mount | None:
    """Return what is mounted where a path leads, None if nobody tells.

    Args:
        path: it need not exist.
        mounts: the file that lists what is mounted.
    """
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
            listed = [mount for line in lines if (mount := _parsed(line))]
    except OSError:
        return None
    whole = os.path.realpath(path)
    above = [mount for mount in listed if f"{whole}/".startswith(f"{mount.path.rstrip('/')}/")]
    # Of several that are mounted in one place, the last one hides the others.
    return max(reversed(above), key=lambda mount: len(mount.path), default=None)


def _parsed(line: str) -> Mount | None:
    before, separator, after = line.rstrip("\n").partition(" - ")
    first, last = before.split(" "), after.split(" ")
    if not separator or len(first) < 6 or len(last) < 2:  # noqa: PLR2004 - as the format has it
        return None
    options = {*first[5].split(","), *(last[2].split(",") if len(last) > 2 else [])}  # noqa: PLR2004
    return Mount(_unescaped(first[4]), last[0], _unescaped(last[1]), frozenset(options))


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)


def boot_id() -> str:
    """Return what all processes that run on the present kernel share, empty if it does not tell.

    Containers of one host have it in common, and so they have locks.
    """
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def process_identity(pid: int) -> str:
    """Return what no other process has or gets that has this number, empty if there is none, or nobody tells.

    What stands before the colon is the same for all processes that see each other by their numbers.
    """
    try:
        namespace = os.stat(_NAMESPACE).st_ino
        with open(_PROCESS.format(pid), encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
            return "" if fields[0] in _DEAD else f"{namespace}:{fields[_STARTED]}"
    except (OSError, IndexError):
        return ""

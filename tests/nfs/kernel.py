"""A real NFS without a second machine: a user-mode Linux kernel with a server, and two mounts that share no cache.

The kernel is an ordinary program whose root is this machine's, read and written as it is, and whose network is its own
loopback. In it, the folders `$NFS_A` and `$NFS_B` are two mounts of one export, by two clients: what two hosts see.
`python -m tests.nfs COMMAND` runs a command there; the tests of this folder are run there by `conftest.py`.

Needs root, and Debian's packages of `TOOLS`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Programs, and Debian's packages of them.
TOOLS = {
    "linux.uml": "user-mode-linux",
    "exportfs": "nfs-kernel-server",
    "mount.nfs": "nfs-common",
    "rpcbind": "rpcbind",
    "modprobe": "kmod",
    "ip": "iproute2",
}

#: A kernel that came up but whose command left no exit code, and one that did not come up.
CUT_OFF, NOT_UP = 124, 125

_INIT = Path(__file__).with_name("init.sh")
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
#: What means something on this side alone.
_OURS = ("TMPDIR", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_")
_BOOT = 60


def why_not() -> str | None:
    """Return why no such kernel can be started here; None if one can."""
    if sys.platform != "linux":
        return "a user-mode Linux runs on Linux alone"
    if os.geteuid() != 0:
        return "an NFS server needs root, also in a user-mode Linux"
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool, path=_PATH) is None]
    return f"not installed for a real NFS, of Debian: {' '.join(missing)}" if missing else None


class Kernel:
    """One start of the kernel, for one command; it ends with the command.

    Args:
        command: what to run in it, in the folder and with the environment of this process.
        seconds: after so many the command is ended.
        memory: of the kernel, as much as it may ever use.
        options: further mount options, of both mounts.
        work: an empty folder; None for one of its own.
        variables: of the environment, besides those of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        seconds: int = 300,
        memory: str = "1200M",
        options: str = "",
        work: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.work = work or Path(tempfile.mkdtemp(prefix="nfs-"))
        (self.work / "temporary").mkdir()
        (self.work / "command").write_text(f"exec {shlex.join(command)}\n")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        environment |= {"NFS_SECONDS": str(seconds), "NFS_OPTIONS_A": options, "NFS_OPTIONS_B": options}
        environment |= variables or {}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items() if name.isidentifier()]
        (self.work / "environment").write_text(f"{''.join(lines)}cd {shlex.quote(os.getcwd())}\n")
        os.makedirs("/lib/modules", exist_ok=True)
        kernel = shlex.join(
            [
                *("timeout", "--kill-after", "5", str(seconds + _BOOT), "linux.uml", f"mem={memory}"),
                *("rootfstype=hostfs", "rootflags=/", "rw", f"uml_dir={self.work}/uml", f"umid=nfs{os.getpid()}"),
                *(
                    "con=null",
                    "con0=null,fd:1",
                    "con1=null",
                    "quiet",
                    f"NFS_WORK={self.work}",
                    "init=/bin/bash",
                    "--",
                    str(_INIT),
                ),
            ]
        )
        # However the kernel ends, others that wait for it learn of it.
        script = f"{kernel} </dev/null >{self.work}/console 2>&1; echo > {self.work}/ended"
        self._process = subprocess.Popen(
            ["bash", "-c", script],
            env={**os.environ, "PATH": _PATH},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> int:
        """Return the exit code of the command when it has ended, or `CUT_OFF` or `NOT_UP`."""
        self._process.wait()
        return exit_code(self.work)

    def kill(self) -> None:
        """End the kernel with all that is in it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def remove(self) -> None:
        """Remove the folder of a kernel that has ended."""
        shutil.rmtree(self.work)


def exit_code(work: Path) -> int:
    """Return how the command of a kernel that has ended did."""
    try:
        return int((work / "status").read_text())
    except FileNotFoundError:
        return CUT_OFF if (work / "output").exists() else NOT_UP


def what_was_said(work: Path) -> str:
    """Return what the command of a kernel has printed, or the kernel itself, if it did not come to that."""
    for name in ("output", "console"):
        if (work / name).exists():
            return (work / name).read_text(errors="replace")
    return ""

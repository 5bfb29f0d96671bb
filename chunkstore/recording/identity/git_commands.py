"""Asking git, so that neither the user's configuration nor the environment of a hook decides what it answers.

No command here runs a program of the user's: no diff tool, no hook, no pager, no filter and no monitor of files.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

#: Seconds for all that is asked about a repository.
_TIMEOUT = 10.0
#: What else begins with GIT_ says which repository or index is meant, or what to run.
_KEPT = ("GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_CONFIG", "GIT_EXEC_PATH")
_LEFT_OUT = ("GIT_CONFIG_PARAMETERS", "GIT_CONFIG")
_SETTINGS = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "core.untrackedCache=false",
    "core.trustctime=true",
    "core.checkStat=default",
    "core.ignoreStat=false",
    "submodule.recurse=false",
    "diff.external=",
)
ANY_OWNER = ("-c", "safe.directory=*")


class GitError(Exception):
    """Git gave no answer; the text is what it said."""


class GitTimeoutError(GitError):
    """Git took too long."""


class Git:
    """Asks git about one folder, until it has taken too long.

    Args:
        folder: where.
        options: for every command.
        is_tree: whether that folder is the top of a working tree, whatever is set as that.
        deadline: when it has taken too long, by the monotonic clock.
    """

    def __init__(
        self, folder: str, options: Sequence[str] = (), *, is_tree: bool = True, deadline: float | None = None
    ) -> None:
        self.folder = folder
        self._tree = {"GIT_WORK_TREE": folder} if is_tree else {}
        self.options = tuple(options)
        self.deadline = time.monotonic() + _TIMEOUT if deadline is None else deadline
        self._filters: tuple[str, ...] = ()

    def at(self, folder: str) -> Git:
        """Return what asks about another folder within the same time."""
        return Git(folder, deadline=self.deadline)

    def ask(self, *arguments: str) -> bytes:
        """Return what a command prints.

        Raises:
            GitTimeoutError: it took too long.
            GitError: it failed.
        """
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        command = ["git", "--no-pager", "--literal-pathspecs", "-C", self.folder, *settings, *self.options, *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - fixed arguments
                command,
                capture_output=True,
                check=False,
                env={**_environment(self._filters), **self._tree},
                timeout=max(0.01, self.left),
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise GitTimeoutError(f"git did not answer within {_TIMEOUT:g} seconds") from None
        except OSError as error:
            raise GitError(str(error)) from None
        if done.returncode:
            raise GitError(done.stderr.decode(errors="backslashreplace").strip())
        return done.stdout

    def without_filters(self) -> str:
        """Let no command run the filters that files go through; return the URL of the remote, which is set beside them.

        Raises:
            GitTimeoutError: it took too long.
        """
        try:
            found = self.ask("config", "-z", "--get-regexp", r"^(remote\.origin\.url|filter\..*)$")
        except GitTimeoutError:
            raise
        except GitError:
            return ""  # neither is set
        url, names = "", dict[str, None]()
        for line in found.decode(errors="surrogateescape").split("\0"):
            key, _, value = line.partition("\n")
            if key == "remote.origin.url":
                url = value
            elif key:
                names[key.rpartition(".")[0]] = None
        self._filters = tuple(names)
        return url

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return self.deadline - time.monotonic()


def _environment(filters: Sequence[str] = ()) -> dict[str, str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or (name.startswith(_KEPT) and name not in _LEFT_OUT)
    }
    count = environment.get("GIT_CONFIG_COUNT", "")
    number = int(count) if count.isdecimal() else 0
    for name in filters:
        for setting, value in (("clean", ""), ("process", ""), ("required", "false")):
            environment[f"GIT_CONFIG_KEY_{number}"] = f"{name}.{setting}"
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
            number += 1
    return {
        **environment,
        "GIT_CONFIG_COUNT": str(number),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "LC_ALL": "C",
    }

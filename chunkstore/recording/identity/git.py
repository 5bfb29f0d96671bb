"""Which commit is checked out, and what differs from it."""

from __future__ import annotations

import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from chunkstore.recording.identity.git_changes import (
    NOTHING_TRACKED,
    changes_in,
    fingerprint,
    module_files,
    tracked_in,
    untracked_modules,
)
from chunkstore.recording.identity.git_commands import ANY_OWNER, Git, GitError, GitTimeoutError
from chunkstore.recording.identity.remotes import without_credentials
from chunkstore.records.models import CodeIdentity

GIT = "git"
UNKNOWN_CHANGES = "uncommitted changes, unknown:"
#: Repositories with more files are asked for what changed every time.
_MOST_FILES = 5_000
#: Files that changed so short a time ago, in nanoseconds, may change again without another time.
_SETTLED = 2_000_000_000
_LONGEST_REASON = 200
_OTHER_OWNER = re.compile("dubious ownership|unsafe repository")
_NO_COMMIT = re.compile("ambiguous argument 'HEAD'|unknown revision")

logger = logging.getLogger("chunkstore")

#: What can be seen of some files without reading them.
_Facts = tuple[object, ...]


class _Seen(NamedTuple):
    """What was found out about a repository.

    Attributes:
        identity: what is recorded.
        facts: what its files looked like; None if that tells nothing.
        files: those of its own that are looked at.
    """

    identity: CodeIdentity
    facts: _Facts | None
    files: list[bytes]


class _GitIdentity:
    """Finds the commit that is checked out in the working folder; asks git only if files have changed since."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._told: set[str] = set()
        self._silent: set[str] = set()

    def cache_clear(self) -> None:
        """Forget what was found out."""
        self._seen.clear()
        self._told.clear()
        self._silent.clear()

    def __call__(self) -> CodeIdentity | None:
        """Return the commit that is checked out in the working folder; None without git."""
        try:
            top = _top_folder()
        except OSError:
            return None
        if top is None or top in self._silent:
            return None
        seen = self._seen.get(top)
        if seen is not None and seen.facts is not None and seen.facts == _facts(top, seen.files):
            return seen.identity
        return self._asked(top)

    def _asked(self, top: str) -> CodeIdentity | None:
        try:
            found = self._seen[top] = _examined(top)
        except GitTimeoutError as error:
            self._silent.add(top)
            self._tell(top, f"{error}; the commit of {top} is not recorded.")
        except GitError as error:
            if _OTHER_OWNER.search(str(error)):
                return self._of_another_owner(top)
            if not _NO_COMMIT.search(str(error)):
                why = str(error).partition("\n")[0][:_LONGEST_REASON]
                self._tell(top, f"The commit of {top} is not recorded, as git does not tell: {why}")
        else:
            return found.identity
        return None

    def _of_another_owner(self, top: str) -> CodeIdentity | None:
        self._tell(
            top,
            f"The repository {top} belongs to another user, so git does not look at its files: changes that are not "
            "committed go unnoticed, but for those of imported modules. "
            f"If you trust it: git config --global --add safe.directory {top}",
        )
        git = Git(top, ANY_OWNER, is_tree=_is_tree(top))
        try:
            commit = git.ask("rev-parse", "HEAD")  # runs nothing that the repository says
            remote = _remote(git)
        except GitError:
            return None
        modules = fingerprint(dict(untracked_modules(top, NOTHING_TRACKED))).decode()
        message = f"uncommitted changes not known: the repository belongs to another user; modules, sha256:{modules}"
        return _identity(commit, remote, message)

    def _tell(self, top: str, message: str) -> None:
        if top not in self._told:
            self._told.add(top)
            logger.warning(message)


git_identity = _GitIdentity()


def _top_folder() -> str | None:
    """Return the folder around the working folder in which a repository begins."""
    folder = os.getcwd()
    while True:
        if _is_tree(folder) or (
            os.path.exists(os.path.join(folder, "HEAD")) and os.path.isdir(os.path.join(folder, "objects"))
        ):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _is_tree(folder: str) -> bool:
    """Tell whether a folder is the top of a working tree."""
    path = os.path.join(folder, ".git")
    return os.path.isfile(path) or os.path.lexists(os.path.join(path, "HEAD"))


def _examined(top: str) -> _Seen:
    """Ask git about a repository."""
    begun = time.time_ns()
    is_tree = _is_tree(top)
    git = Git(top, is_tree=is_tree)
    commit = git.ask("rev-parse", "HEAD")
    remote = _remote(git)
    if not is_tree:  # a bare one: no code of it runs here
        return _Seen(_identity(commit, remote, "", dependable=False), None, [])
    tracked = NOTHING_TRACKED
    try:
        tracked = tracked_in(git)
        changes = changes_in(git, tracked)
    except GitError as error:
        logger.debug("What changed in %s is not known: %s", top, error)
        why = str(error).partition("\n")[0][:_LONGEST_REASON]
        return _Seen(_identity(commit, remote, f"{UNKNOWN_CHANGES}{uuid.uuid4().hex}: {why}"), None, [])
    message = f"uncommitted changes, sha256:{fingerprint(changes).decode()}" if changes else ""
    identity = _identity(commit, remote, message, dependable=not changes)
    if tracked.submodules or len(tracked.paths) > _MOST_FILES:
        return _Seen(identity, None, [])
    files = [os.path.join(os.fsencode(top), path) for path in sorted(tracked.paths)]
    facts = _facts(top, files)
    return _Seen(identity, facts if _newest(facts) < begun - _SETTLED else None, files)


def _remote(git: Git) -> str:
    return without_credentials(git.without_filters())


def _identity(commit: bytes, remote: str, message: str, *, dependable: bool = False) -> CodeIdentity:
    return CodeIdentity(
        code_identifier=commit.decode(errors="backslashreplace").strip(),
        code_identifier_type=GIT,
        code_identifier_dependable=dependable,
        code_identifier_url=remote,
        code_identifier_message=message,
    )


# --- what files look like --------------------------------------------------------------------------------------------


def _facts(top: str, files: list[bytes]) -> _Facts:
    """Return what tells whether a repository is as it was: its commit, its index, its files, and imported modules."""
    modules = sorted(os.fsencode(os.path.abspath(file)) for _, file in module_files(top))
    return (*(_look(path) for path in _git_files(top)), *map(_look, files), *map(_look, modules))


def _git_files(top: str) -> Iterator[bytes]:
    """Yield the files of git that say which commit is checked out, and what belongs to it."""
    folder = _git_folder(top)
    common = _pointed_to(os.path.join(folder, "commondir"), folder) or folder
    head = os.path.join(folder, "HEAD")
    yield os.fsencode(head)
    branch = _pointed_to(head, common, b"ref: ")
    if branch is not None:
        yield os.fsencode(branch)
    for name in ("index", "config.worktree", "info/sparse-checkout"):
        yield os.fsencode(os.path.join(folder, name))
    for name in ("packed-refs", "reftable/tables.list", "config", "info/attributes"):
        yield os.fsencode(os.path.join(common, name))


def _git_folder(top: str) -> str:
    path = os.path.join(top, ".git")
    return _pointed_to(path, top, b"gitdir: ") or path if os.path.isfile(path) else path


def _pointed_to(file: str, folder: str, prefix: bytes = b"") -> str | None:
    """Return the path that a small file of git holds, seen from a folder."""
    try:
        with open(file, "rb") as source:
            text = source.read(4096)
    except OSError:
        return None
    return os.path.join(folder, os.fsdecode(text[len(prefix) :].strip())) if text.startswith(prefix) else None


def _look(path: bytes) -> tuple[bytes, int, int, int, int]:
    try:
        status = os.lstat(path)
    except (OSError, ValueError):  # the latter if what git has written is no path
        return path, 0, 0, 0, 0
    return path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _newest(facts: _Facts) -> int:
    return max((max(fact[3:]) for fact in facts if isinstance(fact, tuple)), default=0)

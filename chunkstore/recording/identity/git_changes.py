"""What in a working tree differs from the commit: the files' own bytes, whatever git shows of them."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

from chunkstore.recording.identity.git_commands import Git, GitError, GitTimeoutError
from chunkstore.recording.identity.rules import is_installed

_LINK, _SUBMODULE = "120000", "160000"
_BLOCK = 1 << 20
#: Longer files are not looked at for line ends.
_LONGEST_TEXT = 16 << 20
#: Submodules of submodules are followed so deep.
_DEEPEST = 20


class Tracked(NamedTuple):
    """What the index of a repository lists.

    Attributes:
        paths: all of them.
        unwatched: those that git was told not to look at, with their hashes.
        sparse: those of them that need not be there.
        submodules: the paths of other repositories, with the commits that belong there.
    """

    paths: frozenset[bytes]
    unwatched: dict[bytes, str]
    sparse: frozenset[bytes]
    submodules: dict[bytes, str]


NOTHING_TRACKED = Tracked(frozenset(), {}, frozenset(), {})


def tracked_in(git: Git) -> Tracked:
    """Return what the index lists."""
    unwatched, submodules, paths, sparse = {}, {}, set(), set()
    for line in git.ask("ls-files", "-s", "-v", "-z").split(b"\0"):
        facts, _, path = line.partition(b"\t")
        if not path:
            continue
        try:
            flag, mode, digest, _stage = facts.decode().split(" ")
        except ValueError:
            raise _unknown_answer(facts) from None
        paths.add(path)
        if mode == _SUBMODULE:
            submodules[path] = digest
        elif flag.islower() or flag == "S":
            unwatched[path] = digest
            if flag.upper() == "S":
                sparse.add(path)
    return Tracked(frozenset(paths), unwatched, frozenset(sparse), submodules)


def changes_in(git: Git, tracked: Tracked, depth: int = 0) -> dict[bytes, bytes]:
    """Return by path what tells the contents of each file that differs from the commit.

    Raises:
        GitError: git does not tell.
    """
    before = {**tracked.unwatched}
    before.update(_listed(git.ask("diff-files", *_RAW)))
    staged = _listed(git.ask("diff-index", "--cached", *_RAW, "HEAD", "--"))
    before.update(staged)
    changes: dict[bytes, bytes] = {}
    for path, digest in before.items():
        if path in tracked.submodules:
            changes[path] = tracked.submodules[path].encode()
            continue
        found = _content(os.path.join(os.fsencode(git.folder), path), digest, git)
        if found is not None and not (path in tracked.sparse and found == b"-"):
            changes[path] = found
    for path, commit in tracked.submodules.items():
        found = _submodule(git.at(os.path.join(git.folder, os.fsdecode(path))), commit, depth)
        if found:
            changes[path] = changes.get(path, b"") + found
    return {**changes, **dict(untracked_modules(git.folder, tracked))}


_RAW = ("--raw", "-z", "--no-abbrev", "--ignore-submodules=dirty", "--no-relative", "--no-renames", "--no-ext-diff")


def _listed(raw: bytes) -> dict[bytes, str]:
    """Return the paths of a raw diff, and the hashes that their contents had."""
    words = raw.split(b"\0")
    listed = {}
    for facts, path in zip(words[::2], words[1::2], strict=False):
        try:
            listed[path] = facts.split(b" ")[2].decode()
        except (IndexError, UnicodeDecodeError):
            raise _unknown_answer(facts) from None
    return listed


def _unknown_answer(answer: bytes) -> GitError:
    return GitError(f"git answers in a way that is not known: {answer[:100]!r}")


def _content(path: bytes, before: str, git: Git) -> bytes | None:
    """Return what tells the content of a file; None if it is what it was. Nothing is followed, nothing can hang."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(path)
            return None if _blob(target, before) == before else b"link " + hashlib.sha256(target).digest()
        if not stat.S_ISREG(status.st_mode):
            return b"other"
        with open(
            os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)), "rb"
        ) as file:
            if status.st_size <= _LONGEST_TEXT:
                data = file.read()
                as_stored = (data, data.replace(b"\r\n", b"\n"))
                is_same = any(_blob(one, before) == before for one in as_stored)
                return None if is_same else b"file " + hashlib.sha256(data).digest()
            digest = hashlib.sha256()
            while block := file.read(_BLOCK):
                digest.update(block)
                if git.left < 0:
                    raise GitTimeoutError("there are too many changes")
            return b"file " + digest.digest()
    except (FileNotFoundError, NotADirectoryError):
        return b"-"
    except OSError as error:
        raise GitError(f"{os.fsdecode(path)} cannot be read: {error}") from None


def _blob(data: bytes, like: str) -> str:
    """Return the hash that git gives some content; of the kind of another hash."""
    kind = hashlib.sha1 if len(like) == 40 else hashlib.sha256  # noqa: PLR2004 - as git has it
    return kind(b"blob %d\0" % len(data) + data).hexdigest()


def _submodule(git: Git, commit: str, depth: int) -> bytes:
    """Return what tells how a submodule differs from the commit that belongs there; nothing if it does not."""
    if not os.path.lexists(os.path.join(git.folder, ".git")):
        return b""  # not checked out
    if depth >= _DEEPEST:
        raise GitError("submodules are nested too deep")
    git.without_filters()
    current = git.ask("rev-parse", "HEAD").strip()
    changes = changes_in(git, tracked_in(git), depth + 1)
    return b"" if current == commit.encode() and not changes else b"at " + current + fingerprint(changes)


def fingerprint(changes: dict[bytes, bytes]) -> bytes:
    """Return one hash of all changes."""
    digest = hashlib.sha256()
    for path, content in sorted(changes.items()):
        for part in (path, content):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest().encode()


def untracked_modules(folder: str, tracked: Tracked) -> Iterator[tuple[bytes, bytes]]:
    """Yield the files of imported modules that lie in a repository, and that git does not know, with their contents."""
    for path, file in module_files(folder):
        if path not in tracked.paths and not any(path.startswith(module + b"/") for module in tracked.submodules):
            try:
                with open(file, "rb") as source:
                    yield path, b"module " + hashlib.sha256(source.read()).digest()
            except OSError:
                yield path, b"module -"


def module_files(folder: str) -> Iterator[tuple[bytes, str]]:
    """Yield the files of imported modules in a folder, by the names under which they lie there, each once."""
    tops = tuple(sorted({os.path.join(top, "") for top in (folder, os.path.realpath(folder))}))
    seen = set()
    for module in list(sys.modules.values()):
        if not issubclass(type(module), ModuleType):
            continue
        file = vars(module).get("__file__")
        if type(file) is not str or file in seen:
            continue
        seen.add(file)
        for name in _names_in(tops, os.path.abspath(file)):
            yield name, file


@lru_cache(maxsize=1 << 14)  # each run asks for each module, and to follow links is slow
def _names_in(tops: tuple[str, ...], file: str) -> tuple[bytes, ...]:
    """Return the names of a module's file in folders, with a slash at their ends, of what is not installed there."""
    if not (file.startswith(tops) or os.path.islink(file) or os.path.islink(os.path.dirname(file))):
        return ()
    found = ((place, top) for place in (file, os.path.realpath(file)) for top in tops if place.startswith(top))
    return () if is_installed(file) else tuple(dict.fromkeys(os.fsencode(os.path.relpath(*one)) for one in found))

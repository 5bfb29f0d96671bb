"""Getting data out of the catalog: the newest of a name, or the very bytes that a record names."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.disk.writing import discard
from chunkstore.errors import ChunkstoreError, InvalidNameError, StoreAccessError
from chunkstore.recording.catalog.data_names import BY_HASH, VERSIONS
from chunkstore.recording.catalog.places import NOT_THERE, make_folders, open_file, open_folder
from chunkstore.recording.catalog.sources import told
from chunkstore.recording.catalog.versions import hash_of, write_copy

_SHA_256 = re.compile(r"[0-9a-f]{64}\Z")


def is_hash(text: str) -> bool:
    """Tell whether a text is a SHA-256 as records have it; they come from anywhere."""
    return _SHA_256.match(text) is not None


def newest(top: str, relative: str) -> BinaryIO | None:
    """Open the newest version of data.

    Args:
        top: the path of the catalog.
        relative: where in it the data lies.

    Returns:
        The open file; None if there is none.
    """
    *parts, file = relative.split("/")
    try:
        return _open(open_folder(top, parts), file)
    except OSError as error:
        if error.errno in NOT_THERE:
            return None
        raise os_error(error, os.path.join(top, relative), "catalog_folder") from error


def version(top: str, relative: str, digest: str) -> BinaryIO | None:
    """Open the bytes that a record names: its own version, or what older versions of this library have put.

    Whether they are what was recorded, only reading them tells.

    Args:
        top: the path of the catalog.
        relative: where in it the newest version lies.
        digest: the SHA-256 of the bytes.

    Returns:
        The open file; None if there is none.
    """
    parts = relative.split("/")
    if not is_hash(digest):
        return newest(top, relative)
    kept = _kept(top, parts[0], digest)
    if kept is None:
        return newest(top, relative)
    # Equal bytes are kept once, but who may do what with them may differ.
    plain = newest(top, relative)
    if plain is not None and _may_differ_in_mode_alone(kept, plain) and hash_of(plain) == digest:
        kept, plain = plain, kept
    if plain is not None:
        plain.close()
    kept.seek(0)
    return kept


def _kept(top: str, own: str, digest: str) -> BinaryIO | None:
    for folder in (VERSIONS, BY_HASH):  # the second if it was copied down from a bucket
        try:
            return _open(open_folder(top, [own, folder]), digest)
        except (OSError, ValueError):
            pass  # damaged, or not there
    return None


def _open(folder: Folder, file: str) -> BinaryIO:
    return os.fdopen(open_file(folder, file), "rb", buffering=0)


def _may_differ_in_mode_alone(one: BinaryIO, other: BinaryIO) -> bool:
    first, second = os.fstat(one.fileno()), os.fstat(other.fileno())
    return first.st_size == second.st_size and first.st_mode != second.st_mode


def target_of(name: str, to: str | os.PathLike[str] | None) -> Path:
    """Return where data is to be copied to: a file, in a folder if that is what is named, or in the working folder."""
    target = Path(name if to is None else to)
    try:
        is_folder = stat.S_ISDIR(target.stat().st_mode)
    except FileNotFoundError:
        is_folder = to is not None and os.fspath(to).endswith("/")
    except (OSError, ValueError) as error:
        raise _unusable(error, target) from error
    return target / name.rpartition("/")[2] if is_folder else target


def copy_out(content: BinaryIO, mode: int, target: Path, check: Callable[[str], None] = lambda _digest: None) -> str:
    """Copy an open file of the catalog to a place of the author's; a file that is there is replaced whole.

    Args:
        content: the file.
        mode: who may do what with the copy.
        target: the path of the copy.
        check: is given the SHA-256 of the copy before it gets its name, and may refuse it.

    Returns:
        The SHA-256.
    """
    path = os.path.abspath(target)
    temporary = temporary_names.next()
    try:
        make_folders(os.path.dirname(path))
        folder = Folder(SYSTEM, os.path.dirname(path), follow=True)
        try:
            digest = write_copy(folder, temporary, content, mode=mode, sync=False)
            check(digest)
            SYSTEM.rename(temporary, os.path.basename(path), folder.fd)
        except BaseException:
            discard(folder, temporary)
            raise
    except ChunkstoreError:
        raise  # it is about the catalog
    except OSError as error:
        raise _unusable(error, target) from error
    return digest


def _unusable(error: OSError | ValueError, target: Path) -> Exception:
    """Return the error for a place that data cannot be copied to."""
    found = told(error, str(target))
    if isinstance(found, InvalidNameError):
        reason = found.reason  # type: ignore[attr-defined]
        return InvalidNameError(
            f"Cannot copy data to {str(target)[:200]!r}: {reason}. Choose another place.",
            name=str(target),
            reason=reason,
        )
    if isinstance(found, OSError) and not hasattr(found, "message"):
        return StoreAccessError(
            f"Cannot copy data to {target}: {found.strerror}. Choose a place where you may write.",
            file=str(target),
            key="to",
            expected="a file or folder that can be written to",
            errno=found.errno,
        )
    return found

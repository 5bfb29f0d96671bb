"""How an input stands for what is parsed: lines and files, with the checksums that make readers look at them at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from chunkstore.records.integrity import with_checksum

_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
#: The line before what a file holds: `===`, or `=1=` for a checksum at its end, or `=*=` for one in each line.
_HEAD = re.compile(rb"^=([=1*])= ([^\n]*)\n", re.MULTILINE)
_LONGEST_NAME = 255
_LONGEST_MESSAGE = 5_000


@contextmanager
def folder() -> Iterator[str]:
    """Make an empty folder, in memory if that can be had, and remove it in the end."""
    path = tempfile.mkdtemp(prefix="fuzz-", dir=_MEMORY)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def lines_with_checksums(data: bytes) -> bytes:
    """Return lines, each of them with its checksum; what stands behind the last line break stays as it is."""
    *lines, rest = data.split(b"\n")
    return b"".join(map(with_checksum, lines)) + rest


def files_in(data: bytes) -> dict[bytes, bytes]:
    """Return the files that an input stands for, by name; a name may lead through folders, but not out."""
    parts = _HEAD.split(data)
    found = {}
    for kind, name, content in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if _leads_down(name):
            found[name] = _KINDS[kind](content)
    return found


_KINDS: dict[bytes, Callable[[bytes], bytes]] = {
    b"=": lambda content: content.removesuffix(b"\n"),
    b"1": lambda content: with_checksum(content.removesuffix(b"\n")),
    b"*": lines_with_checksums,
}


def _leads_down(name: bytes) -> bool:
    parts = name.split(b"/")
    return b"\0" not in name and all(part not in {b"", b".", b".."} and len(part) <= _LONGEST_NAME for part in parts)


def write(top: str, files: dict[bytes, bytes]) -> None:
    """Write files below a folder; one whose way leads through another file is left out."""
    for name, content in files.items():
        path = os.path.join(os.fsencode(top), name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # the whole path
                raise


def as_input(files: Iterable[tuple[str, str, bytes]]) -> bytes:
    """Return the input that stands for files, each with the kind of its head, its name and what it holds."""
    return b"".join(b"=%b= %b\n%b\n" % (kind.encode(), name.encode(), content) for kind, name, content in files)


def text_of(data: bytes) -> str:
    """Return the text that an input stands for; any bytes are one, also one with halves of surrogate pairs."""
    return data.decode("utf-8", "surrogatepass" if _is_text(data) else "surrogateescape")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def check_message(error: Exception, kind: type[Exception] | None = None) -> None:
    """Check that an error is of a kind, if one is named, and says in few words what is wrong, as text."""
    message = str(error)
    message.encode()
    assert len(message) < _LONGEST_MESSAGE
    assert kind in {None, type(error)}

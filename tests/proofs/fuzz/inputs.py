"""How an input stands for what is parsed: lines and files, with the checksums that make readers look at them at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from chunkstore.records.integrity import with_checksum

_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
#: The line before what a file holds: `===`, or `=1=` for a checksum at its end, or `=*=` for one in each line.
_HEAD = re.compile(rb"^=([=1*])= ([^\n]*)\n", re.MULTILINE)
_LONGEST_NAME = 255


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
        content = content.removesuffix(b"\n") if kind != b"*" else content
        if kind == b"1":
            content = with_checksum(content)
        elif kind == b"*":
            content = lines_with_checksums(content)
        if _leads_down(name):
            found[name] = content
    return found


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
            if error.errno != 36:  # ENAMETOOLONG: the whole path
                raise


def as_input(files: Iterable[tuple[str, str, bytes]]) -> bytes:
    """Return the input that stands for files, each with the kind of its head, its name and what it holds."""
    return b"".join(b"=%b= %b\n%b\n" % (kind.encode(), name.encode(), content) for kind, name, content in files)


def folder_as_input(top: str, inside: str = "") -> bytes:
    """Return the input that stands for the files in a folder, the checksums of which are left to be made anew.

    Args:
        top: the folder.
        inside: what stands before the names.
    """
    found = []
    for name in sorted(os.listdir(top)):
        with open(os.path.join(top, name), "rb") as file:
            found.append((*_without_checksums(name, file.read()), inside + name))
    return as_input((kind, name, content) for kind, content, name in found)


def _without_checksums(name: str, data: bytes) -> tuple[str, bytes]:
    lines = data.splitlines(keepends=True)
    bodies = [line[:-33] for line in lines]
    if lines and [with_checksum(body) for body in bodies] == lines:
        if name.endswith(".jsonl"):
            return "*", b"\n".join(bodies)
        if len(lines) == 1:
            return "1", bodies[0]
    return "=", data


def text_of(data: bytes) -> str:
    """Return the text that an input stands for; any bytes are one, also one with halves of surrogate pairs."""
    return data.decode("utf-8", "surrogatepass" if _is_text(data) else "surrogateescape")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True

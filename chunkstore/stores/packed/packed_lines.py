"""Chunks as lines of one file: what sealed files and journals hold.

A line is a JSON object of a chunk's file name and its body, and ends in a checksum of the line (see `integrity`):

    {"file":"StepLog-load-1706852981689005000.json","body":{"name":"load",…}}

Tools that read JSON lines see the bodies as values. How the bytes of the file follow from the body, `form` says:
without it, they are the body and its checksum, as this library writes. Lines of a file of metrics are packed one by
one. Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw

from chunkstore.errors import CorruptChunkError
from chunkstore.names import METRIC
from chunkstore.records import codec
from chunkstore.records.codec import decoder_of
from chunkstore.records.integrity import (
    LENGTH,
    ends_in_checksum,
    has_checksum,
    split_checksum,
    with_checksum,
    without_checksum,
)

_T = TypeVar("_T")

#: The body alone, as other tools write it.
BARE = "bare"
#: The body with line breaks and indents, as the option `pretty` has it.
INDENTED = "indented"
#: The field `text` has the bytes as text.
TEXT = "text"

_LINES_PREFIX = f"{METRIC}-"
_INDENT = 4
_START = b'{"file":"'
_MIDDLE = b'","body":'
#: Where a line begins behind another one whose line break was damaged.
_LOST_BREAK = re.compile(rb'(?<=[ \t]{32}.)(?=\{"file":")', re.DOTALL)


class _Line(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    file: str
    form: str = ""
    text: str = ""
    body: Raw = Raw(b"null")


#: What a chunk holds: JSON, and whether this library wrote it as it stands, with all fields.
Content = tuple[bytes, bool]


# --- packing ---------------------------------------------------------------------------------------------------------


def is_line_file(file: str) -> bool:
    """Tell whether a chunk consists of lines."""
    return file.startswith(_LINES_PREFIX)


def pack_body(file: str, body: bytes) -> bytes:
    """Return the line for a chunk that this library writes.

    Args:
        file: the name of the chunk's file, as `names` makes it.
        body: compact JSON, without a checksum.
    """
    return with_checksum(b"%b%b%b%b}" % (_START, file.encode(), _MIDDLE, body))


def pack(file: str, data: bytes) -> bytes | None:
    """Return the lines for a file, or None if what it holds is no JSON: there is nothing to be packed.

    Args:
        file: its name.
        data: all its bytes; `unpack` gives them back.
    """
    if not _is_intact(file, data):
        return None
    if is_line_file(file):
        bodies = _whole_lines(data)
    elif has_checksum(data):
        bodies = [data[:-LENGTH]]
    else:
        return _pack_foreign(file, data)
    if bodies is None or not _is_plain_name(file) or not all(map(_is_json_line, bodies)):
        return _pack_foreign(file, data)
    return b"".join([pack_body(file, body) for body in bodies])


def _is_plain_name(file: str) -> bool:
    """Tell whether a name stands in JSON as it is."""
    return file.isascii() and file.isprintable() and not {'"', "\\"} & set(file)


def _is_intact(file: str, data: bytes) -> bool:
    """Tell whether no checksum in a file says that it was changed; the checksums are not packed."""
    try:
        for part in data.splitlines(keepends=True) if is_line_file(file) else [data]:
            split_checksum(part, file)
    except CorruptChunkError:
        return False
    return True


def _whole_lines(data: bytes) -> list[bytes] | None:
    """Return the bodies of lines that each end in their checksum, or None if there is anything else."""
    lines = data.splitlines(keepends=True)
    return [line[:-LENGTH] for line in lines] if lines and all(map(has_checksum, lines)) else None


def _is_json_line(body: bytes) -> bool:
    if b"\n" in body or b"\r" in body:
        return False
    try:
        codec.decode(body)
    except CorruptChunkError:
        return False
    return True


def _pack_foreign(file: str, data: bytes) -> bytes | None:
    try:
        text = data.decode()
        lines = data.splitlines() if is_line_file(file) else [data]
        values = [msgspec.json.format(part, indent=-1) for part in lines if codec.decode(part) is not None]
        file.encode()
    except (UnicodeError, CorruptChunkError, msgspec.DecodeError):
        return None
    if len(values) != len(lines):
        return None
    body = values[0] if not is_line_file(file) else b"[%b]" % b",".join(values)
    for form in (BARE, INDENTED):
        if not is_line_file(file) and _shaped(body, form) == data:
            return _encode(_Line(file, form, body=Raw(body)))
    return _encode(_Line(file, TEXT, text, Raw(body)))


def _encode(line: _Line) -> bytes:
    return with_checksum(codec.encode(line))


def _shaped(body: bytes, form: str) -> bytes:
    if form == INDENTED:
        return msgspec.json.format(body, indent=_INDENT)
    return body if form == BARE else with_checksum(body)


# --- unpacking -------------------------------------------------------------------------------------------------------


def split_damaged(line: bytes) -> list[bytes]:
    """Return the lines in a damaged one: several, if it was a line break between them that was damaged."""
    whole = [part if has_checksum(part) else part[:-1] + b"\n" for part in _LOST_BREAK.split(line)]
    return whole if all(map(has_checksum, whole)) else _LOST_BREAK.split(line)


def name_in(line: bytes) -> str | None:
    """Return which file a line belongs to, or None if the line was damaged or cut off."""
    if not has_checksum(line):
        return None
    try:
        if line.startswith(_START):
            end = line.find(b'"', len(_START))
            if line.startswith(_MIDDLE, end):
                return line[len(_START) : end].decode()
        return str(decoder_of(_Line).decode(line).file)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def plain_names(lines: Iterable[bytes]) -> list[str | None]:
    """Return which file each line belongs to, without its line break; None for one that needs a closer look.

    It is what `name_in` says of most lines, and of all those that this library packs from its own files.
    """
    names: list[str | None] = []
    for line in lines:
        end = line.find(b'"', len(_START))
        name = line[len(_START) : end]
        is_plain = line.startswith(_START) and line.startswith(_MIDDLE, end) and ends_in_checksum(line)
        names.append(name.decode() if is_plain and name.isascii() else None)
    return names


class DecodedLine(msgspec.Struct, Generic[_T], forbid_unknown_fields=True):
    """A line that this library packed from a file of its own."""

    file: str
    body: _T


def line_decoder_of(kind: type[_T]) -> msgspec.json.Decoder[DecodedLine[_T]]:
    """Return a decoder for lines whose bodies are of a type."""
    return decoder_of(DecodedLine[kind])  # type: ignore[valid-type]


def place_of_body(data: bytes, name: str, start: int, length: int) -> slice | None:
    """Return where in packed lines the body of a chunk is, if this library wrote it as it stands.

    Args:
        data: lines.
        name: the chunk.
        start: where its line begins.
        length: how long the line is.
    """
    begin = start + len(_START) + len(name)  # in bytes too, if the name is ASCII; else what follows does not fit
    if not data.startswith(_MIDDLE, begin):
        return None
    return slice(begin + len(_MIDDLE), start + length - LENGTH - 1)


def content_of(line: bytes) -> Content:
    """Return what a line holds, for which `name_in` returned a name."""
    if line.startswith(_START):
        end = line.find(b'"', len(_START))
        if line.startswith(_MIDDLE, end):
            return line[end + len(_MIDDLE) : -LENGTH - 1], True
    decoded = decoder_of(_Line).decode(line)
    return decoded.text.encode() if decoded.form == TEXT else bytes(decoded.body), False


def unpack(lines: Iterable[bytes]) -> bytes:
    """Return the bytes of a file from its lines, for which `name_in` returned its name."""
    parts = []
    for line in lines:
        body, is_ours = content_of(line)
        if is_ours:
            parts.append(with_checksum(body))
        else:
            decoded = decoder_of(_Line).decode(without_checksum(line, ""))
            parts.append(decoded.text.encode() if decoded.form == TEXT else _shaped(body, decoded.form))
    return b"".join(parts)

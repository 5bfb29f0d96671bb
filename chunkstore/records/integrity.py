"""A checksum for JSON files that no reader of JSON notices.

A flipped bit inside a text or a number leaves JSON that is valid, and wrong. So compact files end in the CRC-32 (as in
gzip, RFC 1952) of what comes before, written as 32 spaces and tabs and a line break: JSON allows white space there
(RFC 8259), so every tool reads the same value as without. Files without it are taken as they are: those that other
tools write, that people have edited, or that were written with `pretty`, which are as runnable wrote them in 2024.
"""

from __future__ import annotations

from zlib import crc32

from chunkstore.records.codec import corrupt

#: The bits of each byte, as spaces and tabs.
_BITS = [f"{byte:08b}".replace("0", " ").replace("1", "\t").encode() for byte in range(256)]
#: What spaces and tabs are, and what a flipped bit makes of them that is still white space.
_WHITE = b" \t\r"
#: Bytes of the checksum: one for each bit, and a line break.
LENGTH = 33
_WIDTH = LENGTH - 1


def with_checksum(data: bytes) -> bytes:
    """Return JSON bytes with their checksum at the end."""
    return data + _checksum(data)


def without_checksum(data: bytes, file: str) -> bytes:
    """Return the JSON bytes that a file holds, if they are as they were written.

    Args:
        data: what the file holds.
        file: its name, for messages.

    Raises:
        CorruptChunkError: there is a checksum, of something else.
    """
    return split_checksum(data, file)[0]


def split_checksum(data: bytes, file: str) -> tuple[bytes, bool]:
    """Return the JSON bytes that a file holds, and whether there was a checksum; as `without_checksum`."""
    if data[-1:] != b"\n":
        return data, False
    body, end = data[:-LENGTH], data[-LENGTH:]
    if end == _checksum(body):
        return body, True
    if len(end) < LENGTH or end[:-1].strip(_WHITE):
        return data, False  # no checksum: JSON that ends in a line break
    raise corrupt(file, len(body), "its checksum does not match: the file was changed after it was written")


def has_checksum(data: bytes) -> bool:
    """Tell whether bytes end in their checksum."""
    return data[-LENGTH:] == _checksum(data[:-LENGTH])


def ends_in_checksum(line: bytes) -> bool:
    """Tell whether a line without its line break ends in its checksum; as `has_checksum`, for many lines."""
    a, b, c, d = crc32(line[:-_WIDTH]).to_bytes(4, "big")
    return line[-_WIDTH:] == _BITS[a] + _BITS[b] + _BITS[c] + _BITS[d]


def _checksum(data: bytes) -> bytes:
    a, b, c, d = crc32(data).to_bytes(4, "big")
    return b"%b%b%b%b\n" % (_BITS[a], _BITS[b], _BITS[c], _BITS[d])

"""Requests and replies of HTTP/1.1, read from a stream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

_NO_BODY = {204, 304}


@dataclass(frozen=True)
class Message:
    """A request or a reply.

    Attributes:
        first: its first line.
        head: its first line and headers, as they came.
        headers: its headers, their names in lower case.
        body: its body, as it came: chunked, if it was.
    """

    first: str
    head: bytes
    headers: dict[str, str]
    body: bytes

    @property
    def raw(self) -> bytes:
        """All of it."""
        return self.head + self.body

    @property
    def status(self) -> int:
        """The status of a reply."""
        return int(self.first.split(" ", 2)[1])

    @property
    def closes(self) -> bool:
        """Whether its sender closes the connection after it."""
        return self.headers.get("connection", "").lower() == "close" or self.first.startswith("HTTP/1.0")

    def without(self, names: tuple[str, ...]) -> Message:
        """Return it without some headers."""
        lines = self.head.decode("latin-1").split("\r\n")
        kept = [line for line in lines if line.partition(":")[0].lower() not in names]
        return Message(self.first, "\r\n".join(kept).encode("latin-1"), self.headers, self.body)


async def read_request(stream: asyncio.StreamReader) -> Message | None:
    """Return the next request, None when there are no more."""
    return await _read(stream, is_reply=False)


async def read_reply(stream: asyncio.StreamReader, method: str) -> Message | None:
    """Return the reply to a request, None if the server has closed the connection."""
    return await _read(stream, is_reply=True, method=method)


async def _read(stream: asyncio.StreamReader, *, is_reply: bool, method: str = "") -> Message | None:
    try:
        head = await stream.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        has_none = is_reply and (method == "HEAD" or int(first.split(" ", 2)[1]) in _NO_BODY)
        body = b"" if has_none else await _body(stream, headers, is_reply=is_reply)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return Message(first, head, headers, body)


async def _body(stream: asyncio.StreamReader, headers: dict[str, str], *, is_reply: bool) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        parts = []
        while True:
            line = await stream.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            parts += [line, await stream.readexactly(size + 2)]
            if not size:
                return b"".join(parts)
    if "content-length" in headers:
        return await stream.readexactly(int(headers["content-length"]))
    return await stream.read() if is_reply else b""


def reply(status: int, code: str, method: str) -> Message:
    """Return a reply of one's own, with a reason as S3 gives it."""
    body = b"" if method == "HEAD" else f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
    first = f"HTTP/1.1 {status} On Purpose"
    headers = {"content-type": "application/xml", "content-length": str(len(body))}
    lines = [first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return Message(first, "\r\n".join(lines).encode(), headers, body)

"""The proxy itself: it takes requests, lets happen what is planned, and passes on the rest."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit

from chunkstore.testing.proxy.faults import Fault, Forwarded, Returned
from chunkstore.testing.proxy.messages import Message, read_reply, read_request, reply
from chunkstore.testing.proxy.requests import CONDITIONS, Counted, Request, parsed

_MAY_HAVE_BEEN_CLOSED = 1.0
_HEADERS_AT_MOST = 1 << 20
_AT_ONCE = struct.pack("ii", 1, 0)


class PlannedFault:
    """A fault that is to happen.

    Attributes:
        hit: the requests to which it has happened.
    """

    def __init__(self, fault: Fault, at: int, times: int | None, when: Callable[[Request], bool] | None) -> None:
        self.fault = fault
        self.hit: list[Request] = []
        self._when = when
        self._before = at
        self._times = times

    def happens_to(self, request: Request) -> bool:
        """Return whether it happens to the next request; count that."""
        if self._when is not None and not self._when(request):
            return False
        if self._before:
            self._before -= 1
            return False
        if self._times is not None and len(self.hit) >= self._times:
            return False
        self.hit.append(request)
        return True


class _Server:
    """The connection to the server that belongs to one of a client."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def ask(self, request: Message, method: str) -> Message | None:
        """Return the reply, None if there is none."""
        is_old = self._streams is not None and time.monotonic() > self._used + _MAY_HAVE_BEEN_CLOSED
        found = await self._ask(request, method)
        if found is None and is_old:  # it had closed a connection that was not used
            found = await self._ask(request, method)
        return found

    async def _ask(self, request: Message, method: str) -> Message | None:
        try:
            if self._streams is None or self._streams[0].at_eof():
                self.close()
                self._streams = await asyncio.open_connection(*self._address, limit=_HEADERS_AT_MOST)
            reader, writer = self._streams
            writer.write(request.raw)
            await writer.drain()
            found = await read_reply(reader, method)
        except OSError:
            found = None
        if found is None or found.closes:
            self.close()
        self._used = time.monotonic()
        return found

    async def begin(self, half: bytes) -> None:
        """Send the beginning of a request, and go away."""
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(*self._address)
            writer.write(half)
            await writer.drain()
            writer.close()

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _Connection(NamedTuple):
    """A client's connection, and the one to the server that belongs to it."""

    server: _Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Proxy:
    """A proxy that answers inside of a `with` block, on a thread of its own.

    Args:
        target: the URL of the server.
        depth: how many segments of the path name the bucket: 1, with Azurite 2 (account and container).
        latency: how many seconds each request takes longer.
        rate: how many requests a second are let through, as on average of a second; the others are told to slow down.
        ignores_conditions: whether conditions of puts are left out, as if the server did not know them.

    Attributes:
        endpoint: the proxy's own URL.
    """

    def __init__(
        self,
        target: str,
        *,
        depth: int = 1,
        latency: float = 0.0,
        rate: float | None = None,
        ignores_conditions: bool = False,
    ) -> None:
        split = urlsplit(target)
        self._target = split.hostname or "127.0.0.1", split.port or 80
        self._depth = depth
        self.latency = latency
        self.rate = rate
        self.ignores_conditions = ignores_conditions
        self.endpoint = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._turn = threading.Lock()
        self._counting: list[Counted] = []
        self._planned: list[PlannedFault] = []
        self._late: list[tuple[Message, str]] = []
        self._under_way = 0
        self._room, self._filled = rate or 0.0, time.monotonic()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def __enter__(self) -> Proxy:
        """Answer."""
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Answer no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @contextlib.contextmanager
    def counted(self, *, keeps: bool = True) -> Iterator[Counted]:
        """Count the requests that come while the block runs.

        Args:
            keeps: whether each of them is kept, and not only how many there were.
        """
        counted = Counted(keeps=keeps)
        with self._turn:
            self._counting.append(counted)
        try:
            yield counted
        finally:
            with self._turn:
                self._counting.remove(counted)

    @contextlib.contextmanager
    def failing(
        self,
        fault: Fault,
        *,
        at: int = 0,
        times: int | None = 1,
        when: Callable[[Request], bool] | None = None,
    ) -> Iterator[PlannedFault]:
        """Let a fault happen to requests that come while the block runs.

        Args:
            fault: what is to happen.
            at: how many requests come through before it does.
            times: to how many requests it happens then; None for all.
            when: which requests it is about, and which are counted; None for all.
        """
        planned = PlannedFault(fault, at, times, when)
        with self._turn:
            self._planned.append(planned)
        try:
            yield planned
        finally:
            with self._turn:
                self._planned.remove(planned)

    def deliver_late(self) -> list[int]:
        """Let the server have the requests that were late; return the statuses of its replies."""

        async def deliver() -> list[int]:
            server = _Server(*self._target)
            late, self._late = self._late, []
            found = [await server.ask(message, method) for message, method in late]
            server.close()
            return [each.status for each in found if each is not None]

        return asyncio.run_coroutine_threadsafe(deliver(), self._loop).result(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = asyncio.start_server(self._serve, sock=self._listening, limit=_HEADERS_AT_MOST)
        server = self._loop.run_until_complete(listening)
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(_Server(*self._target), reader, writer)
        try:
            while (message := await read_request(reader)) is not None:
                method, target, _ = message.first.split(" ", 2)
                request = parsed(method, target, message.headers, len(message.body), self._depth)
                fault = self._arrived(request)
                try:
                    goes_on = await self._answer(connection, message, request, fault)
                finally:
                    self._under_way -= 1
                if not goes_on:
                    return
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client is gone, or the proxy ends
        finally:
            connection.server.close()
            writer.close()

    def _arrived(self, request: Request) -> Fault | None:
        self._under_way += 1
        with self._turn:
            for counted in self._counting:
                counted.add(request, self._under_way)
            happening = [planned.fault for planned in self._planned if planned.happens_to(request)]
        if happening:
            request.fault = happening[0].name
            return happening[0]
        return None if self._has_room() else _SLOW_DOWN

    def _has_room(self) -> bool:
        if self.rate is None:
            return True
        now = time.monotonic()
        self._room = min(self.rate, self._room + (now - self._filled) * self.rate)
        self._filled = now
        if self._room < 1:
            return False
        self._room -= 1
        return True

    async def _answer(self, connection: _Connection, message: Message, request: Request, fault: Fault | None) -> bool:
        """Answer a request; return whether the connection is still good."""
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.ignores_conditions:
            message = message.without(CONDITIONS)
        forwarded = fault.forwarded if fault is not None else Forwarded.ONCE
        writer = connection.writer
        answer = await self._forward(connection.server, message, request.method, forwarded)
        if fault is not None and fault.status:
            answer = reply(fault.status, fault.code, request.method)
        match fault.returned if fault is not None else Returned.WHOLE:
            case Returned.WHOLE if answer is not None:
                request.status = answer.status
                writer.write(answer.raw)
                await writer.drain()
                return not answer.closes
            case Returned.HALF if answer is not None:
                writer.write(answer.raw[: len(answer.head) // 2 if not answer.body else -(len(answer.body) + 1) // 2])
                await writer.drain()
            case Returned.SILENCE:
                await connection.reader.read()
            case Returned.RESET:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                writer.transport.abort()
            case _:
                pass
        return False

    async def _forward(self, server: _Server, message: Message, method: str, forwarded: Forwarded) -> Message | None:
        match forwarded:
            case Forwarded.NEVER:
                return None
            case Forwarded.HALF:
                half = len(message.head) // 2 if not message.body else len(message.head) + len(message.body) // 2
                await server.begin(message.raw[:half])
                return None
            case Forwarded.LATE:
                self._late.append((message, method))
                return None
            case Forwarded.TWICE:
                await server.ask(message, method)
        return await server.ask(message, method)


_SLOW_DOWN = Fault("throttled", Forwarded.NEVER, status=503, code="SlowDown")

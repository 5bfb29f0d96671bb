"""The server that all sides use: one of this machine's own, or that of a URL."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chunkstore
from chunkstore.backends.objects.place import Place


@dataclass(frozen=True)
class Server:
    """Where an object store is.

    Attributes:
        url: what all measurements lie below.
        options: how it is reached.
    """

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def place(self, name: str) -> Place:
        """Return a prefix of its own."""
        return Place(f"{self.url}/{name}", self.options)

    def open_store(self, name: str, **options: Any) -> chunkstore.Store:
        """Open the store of a prefix."""
        return chunkstore.open_store(f"{self.url}/{name}", **self.options, **options)


@contextmanager
def seaweed() -> Iterator[tuple[Server, Any]]:
    """Run a SeaweedFS on loopback as long as the block lasts; yield it, and what the tests know of it."""
    module = importlib.import_module("tests.support.servers.seaweed")
    with tempfile.TemporaryDirectory(prefix="chunkstore-seaweed-") as folder, module.Seaweed(Path(folder)) as running:
        options = dict(running.options())
        yield Server(running.url("benchmark"), {**options.pop("client_options", {}), **options}), running

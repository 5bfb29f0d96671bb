"""Where the simulated runs are: a store that any process can open."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import chunkstore


@dataclass(frozen=True)
class StorePlace:
    """A store, as another process opens it.

    Attributes:
        named: the type of a store, or the URL of a bucket.
        options: of the store.
    """

    named: str
    options: dict[str, Any] = field(default_factory=dict)

    def beside(self, name: str) -> StorePlace:
        """Return another store at the same place."""
        if "log_folder" in self.options:
            return replace(self, options={**self.options, "log_folder": f"{self.options['log_folder']}-{name}"})
        return replace(self, named=f"{self.named}-{name}")

    def open(self) -> chunkstore.Store:
        """Open it anew, with connections of its own."""
        return chunkstore.open_store(self.named, **self.options)

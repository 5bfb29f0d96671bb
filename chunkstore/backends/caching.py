"""What a back end may keep beside the folders, for those who would else have to look into very many of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from chunkstore.backends.base import Backend


class Kept(NamedTuple):
    """What is kept under a name.

    Attributes:
        name: may have slashes in it.
        written_at: when it was written, in nanoseconds, by one clock for all of them.
    """

    name: str
    written_at: int


class Caching(Backend):
    """Looking into many folders costs so much that what was found out is kept, for others too.

    Nothing of it is needed: whoever deletes it loses time alone. Elsewhere all is looked at each time.
    """

    @abstractmethod
    def kept(self) -> list[Kept]:
        """Return what is kept; all that was kept before the call."""

    @abstractmethod
    def load_kept(self, names: Sequence[str]) -> list[tuple[bytes, Hashable] | None]:
        """Return what is kept under each name, and what tells it from what is kept there later; None if nothing is."""

    @abstractmethod
    def keep(self, name: str, data: bytes, *, over: Hashable | None) -> bool:
        """Keep something in the place of what was loaded.

        Args:
            name: under which name.
            data: what to keep.
            over: what told from others what is kept there; None if nothing is.

        Returns:
            Whether it is kept; else something else has been kept there since.
        """

    @abstractmethod
    def drop(self, names: Iterable[str]) -> None:
        """Keep nothing under these names any more."""

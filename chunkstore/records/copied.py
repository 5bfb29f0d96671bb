"""The note of a run that is a copy: of which run, how far it has come, and what that run was then."""

from __future__ import annotations

import msgspec

from chunkstore.records.models import NOTES, RunLog

#: The note's key.
COPIED = "copied"


class CopyNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"source": "from"}):
    """Of which run another one is a copy.

    Attributes:
        source: where that run is, for people.
        incarnation: which of all runs that have, had or get its id it is.
        at: when it was copied last, in UTC.
        record: a hash of its own record as it was then.
        state: a hash of all that it held then.
        partial: whether some of that is not here yet: somebody copies it, or was stopped.
        earlier: of a copy of a copy, of which runs that one is a copy, in the same way; the last of them first.
    """

    source: str = ""
    incarnation: str = ""
    at: str = ""
    record: str = ""
    state: str = ""
    partial: bool = False
    earlier: list[str] = msgspec.field(default_factory=list)

    @property
    def ancestors(self) -> list[str]:
        """The runs that the copy comes from, the last one first."""
        return [self.incarnation, *self.earlier]

    @classmethod
    def of(cls, log: RunLog) -> CopyNote | None:
        """Return what a run notes; None if it is no copy."""
        try:
            return msgspec.convert(log.notes.get(COPIED), cls | None)
        except msgspec.ValidationError:
            return None  # not ours

    def on(self, log: RunLog) -> RunLog:
        """Return a run's own record with this note."""
        notes = {**log.notes, COPIED: msgspec.to_builtins(self)}
        return msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes})

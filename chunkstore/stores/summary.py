"""What is found out of a run that is about to end, to be noted in its own record."""

from __future__ import annotations

from typing import Any, NamedTuple

from chunkstore.records.models import CONTENTS, SUMMING, RunLog
from chunkstore.stores.contents import Contents


class Summary(NamedTuple):
    """A run, summed up.

    Attributes:
        steps: how many steps, at any depth, have which status; None if that cannot be read.
        log: the whole run, if that was asked for.
        summing: stands in the run's own record as long as nobody has added anything since the run was summed up.
        contents: what the chunks hold; None where they cannot be read, or the run does not consist of chunks.
    """

    steps: dict[str, int] | None
    log: RunLog | None = None
    summing: str = ""
    contents: Contents | None = None

    def notes(self, log: RunLog) -> dict[str, Any]:
        """Return what to note in a run's own record; None for a note that shall not be there."""
        is_sure = self.contents is not None and log.notes.get(SUMMING) == self.summing
        return {"steps": self.steps, SUMMING: None, CONTENTS: self.contents if is_sure else None}

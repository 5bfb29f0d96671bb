"""What a list of runs shows of each."""

from __future__ import annotations

import msgspec

from chunkstore.records.models import FAIL, SUCCESS


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of runs shows of each.

    Attributes:
        run_id: the run's unique name.
        status: `SUCCESS`, `FAIL` or `PROCESSING`; empty where it could not be read.
        tag: any text that groups runs.
        original_run_id: the run that this one resumes.
        start_time: when the run was created, as in `StepAttempt`; empty where nobody recorded it.
        end_time: when the run finished; empty while it goes on.
        steps: how many steps have which status, as counted when the run finished; None where nobody counted them.
        incarnation: what tells the run from every other that had its id before or gets it later; empty if unknown.
        problem: why the run could not be read; empty where it could.
    """

    run_id: str
    status: str = ""
    tag: str = ""
    original_run_id: str = ""
    start_time: str = ""
    end_time: str = ""
    steps: dict[str, int] | None = None
    incarnation: str = ""
    problem: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the run has ended or cannot be read, so that it does not matter who recorded it."""
        return self.status in {SUCCESS, FAIL} or bool(self.end_time) or bool(self.problem)

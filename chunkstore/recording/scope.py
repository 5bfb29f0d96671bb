"""What those share who record into a run, or into one branch of it: steps, maps and parallels."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from chunkstore.errors import StepLogNotFoundError
from chunkstore.forks import note_forks
from chunkstore.names import PinnedRunId, check_name, join_name, numbered, scopes_of
from chunkstore.recording.catalog import PUT, Catalog, catalog_of
from chunkstore.recording.context import Current
from chunkstore.recording.previous import PreviousRun
from chunkstore.records.models import CodeIdentity, DataCatalog
from chunkstore.stores.base import Store

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency


class Scope:
    """A run, or a branch of it, as those see it who record there; its attributes are described at `chunkstore.Run`."""

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        branch: str = "",
        catalog: Catalog | None = None,
        capture_output: bool = True,
        code_identity: CodeIdentity | None = None,
        previous: PreviousRun | None = None,
    ) -> None:
        self.store = store
        self.identity = run_id if isinstance(run_id, PinnedRunId) else PinnedRunId(run_id, "")
        self.run_id = str(run_id)
        self.branch = branch
        self.catalog = catalog or catalog_of(store, run_id, self.identity.incarnation)
        self.capture_output = capture_output
        self.code_identity = code_identity
        self.previous = previous
        self._taken: dict[str, int] = {}
        self._open: dict[str, None] = {}
        self._failed: list[str] = []
        #: Whether others, too, may record steps here: then this object does not know of all.
        self._shared = False
        self._mutex = threading.Lock()
        note_forks(self)

    def reset_after_fork(self) -> None:
        """In a forked child: let go of the mutex, which a thread of the parent may hold."""
        self._mutex = threading.Lock()

    def note_fork(self) -> None:
        """In the parent of a forked child: the child may record steps of this run too."""
        self._shared = True

    def bound_to(self, branch: str) -> Self:
        """Return an object that records inside a branch of this run."""
        return type(self)(self.store, self.identity, **{**self._options(), "branch": branch})

    def _options(self) -> dict[str, Any]:
        """Return what another object needs, besides store and run, to record here."""
        return {
            "branch": self.branch,
            "catalog": self.catalog,
            "capture_output": self.capture_output,
            "code_identity": self.code_identity,
            "previous": self.previous,
        }

    # --- steps: their names, and how they end ------------------------------------------------------------------------

    def new_name(self, name: str) -> str:
        """Return the internal name of a step; a name that was used before gets a number."""
        check_name(name)
        with self._mutex:
            return join_name(self.branch, numbered(name, self._taken))

    def release_name(self, name: str) -> None:
        """Take back the name of a step that is not going to be recorded."""
        with self._mutex:
            if self._taken.get(name) == 1:
                del self._taken[name]

    def note_start(self, internal_name: str) -> None:
        """Remember that a step made through this object has begun."""
        with self._mutex:
            self._open[internal_name] = None

    def note_outcome(self, internal_name: str, *, failed: bool) -> None:
        """Remember that a step made through this object has ended, and whether it failed."""
        with self._mutex:
            self._open.pop(internal_name, None)
            if failed:
                self._failed.append(internal_name)

    @property
    def failed_steps(self) -> list[str]:
        """The internal names of the steps made through this object that failed."""
        return list(self._failed)

    def put_by(self, step: str, name: str) -> DataCatalog:
        """Return the record of data that a step has put.

        Args:
            step: its name, in this branch or one around it, or its internal name.
            name: what the data is called.

        Raises:
            StepLogNotFoundError: there is no such step.
            DataNotFoundError: it has put no data of this name.
        """
        names = [step, *(join_name(scope, step) for scope in reversed(list(scopes_of(self.branch))))]
        while True:
            try:
                log = self.store.get_step_log(self.identity, names.pop(), full=False)
                break
            except StepLogNotFoundError:
                if not names:
                    raise
        put = [entry for entry in log.data_catalog if entry.name == name and entry.stage == PUT]
        if not put:
            raise self.catalog.not_found(name, self.run_id, step)
        return put[-1]

    def keep(self, entries: Iterable[DataCatalog]) -> None:
        """Make data durable that was put just now, if the run has ended at a level at which that must be."""
        entries = [entry for entry in entries if entry.stage == PUT]
        if entries and self.store.must_be_durable(self.identity):
            self.catalog.sync_entries(entries)


#: The run that is recorded here; inside a branch, the run bound to that branch.
CURRENT_RUN: Current[Scope] = Current("run", "store.start_run()")

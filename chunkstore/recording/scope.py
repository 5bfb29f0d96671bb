"""What those share who record into a run, or into one branch of it: steps, maps and parallels."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from chunkstore.errors import RunLogNotFoundError, StepLogNotFoundError
from chunkstore.forks import note_forks
from chunkstore.names import PinnedRunId, TakenNames, check_name, join_name, numbered, scopes_of
from chunkstore.recording.catalog import PUT, Catalog, catalog_of
from chunkstore.recording.context import Current
from chunkstore.recording.inner_names import InnerNames
from chunkstore.recording.previous import PreviousRun
from chunkstore.recording.starting import start_inside
from chunkstore.records.models import CodeIdentity, DataCatalog, StepLog
from chunkstore.stores.base import Store

if TYPE_CHECKING:
    from typing_extensions import Self  # for annotations alone: no dependency

logger = logging.getLogger("chunkstore")


class Scope:
    """A run, or a branch of it, as those see it who record there; its attributes are described at `chunkstore.Run`."""

    #: Whether the interpreter is ending. Here, as even the names of modules are gone by then.
    is_finalizing = staticmethod(sys.is_finalizing)

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
        repeats: bool = False,
        around: tuple[str, int] | None = None,
        start: str = "",
    ) -> None:
        self.store = store
        self.identity = run_id if isinstance(run_id, PinnedRunId) else PinnedRunId(run_id, "")
        self.run_id = str(run_id)
        self.branch = branch
        self.catalog = catalog or catalog_of(store, run_id, self.identity.incarnation)
        self.capture_output = capture_output
        self.code_identity = code_identity
        self.previous = previous
        #: Whether what is recorded here may have been recorded before, by a start that came to nothing.
        self._repeats = repeats
        #: The step whose function is all that records here, if that is a branch.
        self.function_step: StepAround | None = None
        #: Whether this is a worker's, whose functions came by value: others may not be able to import them.
        self.sends_by_value = False
        #: The same in another process than the step's own: its name, and its attempt.
        self._around = around
        #: What the start around this one is called; and by process, what this one is, as a forked child is another.
        self._start_around = start
        self._starts: dict[int, str] = {}
        self._claims: dict[int, object] = {}
        # Changed by single operations alone: threads, and handlers of signals, may do so at any time.
        self._taken: TakenNames = {}
        self._repeated: set[str] = set()
        self._open: dict[str, StepAround] = {}
        self._failed: dict[str, None] = {}
        #: Branches that were handed to an engine, which may begin with them though nobody waits for them any more.
        self.left: set[str] = set()
        #: Whether a branch has begun here that is not to fail if its run is deleted meanwhile.
        self.is_under_way = False
        #: Whether others, too, may record steps here: then this object does not know of all.
        self._shared = False
        note_forks(self)

    def note_fork(self) -> None:
        """In the parent of a forked child: the child may record steps of this run too."""
        self._shared = True

    def start_in(self, process: int) -> str:
        """Return what this start is called: the work that a process does through this object, told from all others.

        Args:
            process: the id of the process, which is this one.
        """
        return self._starts.get(process) or self._starts.setdefault(process, start_inside(self._start_around))

    def claim(self) -> bool:
        """Take this object for a start of its branch in this process; return False if another one has it."""
        mine = object()
        return self._claims.setdefault(os.getpid(), mine) is mine  # one operation: starts may be threads

    def bound_to(self, branch: str, *, repeats: bool = False) -> Self:
        """Return an object that records inside a branch of this run.

        Args:
            branch: its internal name.
            repeats: whether the branch was begun before, and what that came to does not count.
        """
        start = self._start_around if branch == self.branch else self.start_in(os.getpid())
        options = {**self._options(), "branch": branch, "repeats": self._repeats or repeats, "start": start}
        bound = type(self)(self.store, self.identity, **options)
        bound.is_under_way = self.is_under_way
        return bound

    def _options(self) -> dict[str, Any]:
        """Return what another object needs, besides store and run, to record here."""
        return {
            "branch": self.branch,
            "catalog": self.catalog,
            "capture_output": self.capture_output,
            "code_identity": self.code_identity,
            "previous": self.previous,
            "repeats": self._repeats,
            "start": self._starts.get(os.getpid(), self._start_around),
        }

    # --- steps: their names, and how they end ------------------------------------------------------------------------

    def new_name(self, name: str) -> str:
        """Return the internal name of a step; a name that was used before gets a number."""
        check_name(name)
        outer = self.step_around()

        def make() -> str:
            return join_name(self.branch, numbered(name, self._taken))

        if outer is None or outer.inner_names is None:
            return make()
        internal_name, is_repeated = outer.inner_names.take(name, make)
        if is_repeated:
            self._repeated.add(internal_name)
        return internal_name

    def release_name(self, name: str) -> None:
        """Take back the name of a step that is not going to be recorded."""
        if self._taken.get(name) == [1]:
            self._taken.pop(name, None)

    def is_repeated(self, internal_name: str) -> bool:
        """Tell whether a step may have been recorded before, by a start of what is around it that came to nothing."""
        return self._repeats or internal_name in self._repeated

    def records_as(self, other: Scope) -> bool:
        """Tell whether what is recorded through this object belongs to the very run or branch that another is for."""
        return self is other or (
            self.branch == other.branch
            and self.run_id == other.run_id
            and self.identity.incarnation == other.identity.incarnation
        )

    def step_around(self) -> StepAround | None:
        """Return the step at work here whose steps are recorded through this object; None if there is none."""
        step: StepAround | None = CURRENT_STEP.find()
        if step is not None and step.is_at_work_in(self):
            return step
        return self.function_step

    def let_go_of_function_step(self) -> None:
        """Remember by its name alone the step whose function was all that recorded here, as it has ended.

        It holds this object: both would stay until garbage is collected.
        """
        step, self.function_step = self.function_step, None
        if step is not None:
            self._around = step.internal_name, step.attempt

    def around(self) -> tuple[str, int] | None:
        """Return the internal name of the step that is at work here and its attempt; None if there is none."""
        step = self.step_around()
        return self._around if step is None else (step.internal_name, step.attempt)

    def note_start(self, step: StepAround) -> None:
        """Remember that a step made through this object has begun."""
        self._open[step.internal_name] = step
        self._failed.pop(step.internal_name, None)

    def note_outcome(self, internal_name: str, *, failed: bool) -> None:
        """Remember that a step made through this object has ended, and whether it failed."""
        if failed:
            self._failed[internal_name] = None
        self._open.pop(internal_name, None)

    def forget_outcomes(self, internal_names: Iterable[str]) -> None:
        """Forget how steps ended that ran inside an attempt which does not count."""
        for internal_name in internal_names:
            self._open.pop(internal_name, None)
            self._failed.pop(internal_name, None)

    def claim_names(self, steps: Iterable[StepLog]) -> bool:
        """Take the names of steps that are taken over as they are; return False if others have some of them."""
        wanted = list(steps)
        # Not before it is known that all are to be had; whoever takes one meanwhile leaves a gap in the numbers.
        for taken in ({name: asked.copy() for name, asked in self._taken.copy().items()}, self._taken):
            for step in wanted:
                if join_name(self.branch, numbered(step.name, taken)) != step.internal_name:
                    return False
        return True

    def end_open_steps(self, error: BaseException, begun_by: int | None = None) -> None:
        """Record that an error ended the steps that this thread or task has begun here, and that have not ended.

        Args:
            error: what ended them.
            begun_by: another thread or task whose steps are meant; see `actor`.
        """
        whose = actor() if begun_by is None else begun_by
        for step in reversed(list(self._open.values())):
            if step.begun_by == whose:
                step.end_with(error)

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
        if entries and self.tell_store(self.store.must_be_durable):
            self.catalog.sync_entries(entries)

    def tell_store(self, verb: Callable[..., Any], *what: Any, **options: Any) -> Any:
        """Call a method of the store for this run, which records something; return what it returns.

        If the run was deleted while a branch of it goes on, nothing is recorded, and None returned: an engine may go on
        with a branch for long after its run has ended, and nobody's work shall fail because it is recorded.

        Raises:
            RunLogNotFoundError: there is no such run, and this is no branch that has begun.
        """
        try:
            return verb(self.identity, *what, **options)
        except RunLogNotFoundError:
            if not self.is_under_way:
                raise
            logger.info("Run %s is gone: what its branch %s does is not recorded", self.run_id, self.branch)
            return None


def actor() -> int:
    """Return what tells the asyncio task that is at work here from others, or else the thread."""
    asyncio = sys.modules.get("asyncio")  # who has not loaded it runs no task
    try:
        task = asyncio.current_task() if asyncio else None
    except (AttributeError, RuntimeError):  # it is just being loaded, or no event loop runs here
        task = None
    return threading.get_ident() if task is None else id(task)


class StepAround(Protocol):
    """What is to be known here of a step that is at work."""

    internal_name: str
    inner_names: InnerNames | None
    begun_by: int

    @property
    def attempt(self) -> int:
        """Which attempt it is in, counted from 1."""

    def is_at_work_in(self, scope: Scope) -> bool:
        """Tell whether it belongs to this very run or branch, and has not ended."""

    def end_with(self, error: BaseException) -> None:
        """Record that an error ended the step, unless it has ended."""


#: The step that is running here.
CURRENT_STEP: Current[Any] = Current("step", "run.step(name)")
#: The run that is recorded here; inside a branch, the run bound to that branch.
CURRENT_RUN: Current[Scope] = Current("run", "store.start_run()")

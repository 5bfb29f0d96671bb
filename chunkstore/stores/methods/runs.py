"""What every store can do with runs: create them, read them, change them."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from chunkstore.backends.base import AT_THE_END
from chunkstore.backends.disk.freshness import looked_at_afresh
from chunkstore.backends.errors import MissingError
from chunkstore.clock import utc_now
from chunkstore.errors import CorruptChunkError, RunLogExistsError
from chunkstore.names import check_run_id, data_folders, generate_run_id, incarnation_of, is_meant, new_incarnation
from chunkstore.records.attempts import step_counts
from chunkstore.records.late import without_late
from chunkstore.records.models import (
    INCARNATION,
    NOTES,
    PROCESSING,
    RESUMED,
    BranchLog,
    Problem,
    RunLog,
    StepLog,
)
from chunkstore.stores.contents import with_contents
from chunkstore.stores.layout import Layout
from chunkstore.stores.methods.changes import changed, refused
from chunkstore.stores.runs import summary_of
from chunkstore.stores.stored import as_stored, check_format, is_finished
from chunkstore.stores.summary import Summary
from chunkstore.version import __version__


class RunMethods(Layout):
    """Runs as wholes, and their own records."""

    def create_run_log(
        self,
        run_id: str | None = None,
        *,
        tag: str = "",
        dag_hash: str = "",
        use_cached: bool = False,
        original_run_id: str = "",
        parameters: Mapping[str, Any] | None = None,
        run_config: Mapping[str, Any] | None = None,
        status: str = PROCESSING,
    ) -> RunLog:
        """Create a run; of any number of processes that try at once, one succeeds.

        Args:
            run_id: the run's name; None for a generated one.
            tag: any text that groups runs.
            dag_hash: a hash of the pipeline's definition.
            use_cached: whether results of `original_run_id` may be taken over.
            original_run_id: the run that this one resumes; pinned, if it is known which of its id that is.
            parameters: those of the run.
            run_config: how the run is configured.
            status: the first status.

        Returns:
            The record as it was written.

        Raises:
            RunLogExistsError: there is a run of this id.
            InvalidNameError: the id cannot be one.
            InvalidValueError: a parameter or a part of the configuration cannot be recorded.
        """
        generated = run_id is None
        while True:
            log = RunLog(
                run_id=generate_run_id() if run_id is None else run_id,
                dag_hash=dag_hash,
                use_cached=use_cached,
                tag=tag,
                original_run_id=str(original_run_id),
                status=status,
                parameters=dict(parameters or {}),
                run_config={
                    **(run_config or {}),
                    NOTES: {
                        "format": self._format,
                        "version": __version__,
                        "created": utc_now(),
                        INCARNATION: new_incarnation(),
                        **({RESUMED: incarnation_of(original_run_id)} if incarnation_of(original_run_id) else {}),
                    },
                },
            )
            check_run_id(log.run_id)
            log = as_stored(log)
            try:
                self._create(log)
            except FileExistsError:
                if generated:
                    continue
                raise self._exists(log.run_id) from None
            return log

    def add_run_log(self, log: RunLog, *, incarnation: str = "") -> None:
        """Record a whole run at once, as another store or a document holds it; readers see all of it or nothing.

        At the durability levels `run` and `step`, it survives a loss of power when this returns.

        Args:
            log: the run, with its steps, branches and parameters.
            incarnation: what tells it from every other run, as `chunkstore.names.new_incarnation` makes it, for those
                who have to know that before; empty for a new one.

        Raises:
            RunLogExistsError: there is a run of this id.
            InvalidValueError: a value in it cannot be stored.
            UnsupportedFormatError: it is of a newer format.
        """
        check_run_id(log.run_id)
        check_format(log)
        # A copy is another run: what happens to the one must not happen to the other.
        own = {"format": self._format, "version": __version__, INCARNATION: incarnation or new_incarnation()}
        notes = {"created": utc_now(), **with_contents(log, None).notes, **own}
        stored = as_stored(msgspec.structs.replace(log, run_config={**log.run_config, NOTES: notes}))
        try:
            self._create(stored, durable=self.backend.durability == AT_THE_END)
        except FileExistsError:
            raise self._exists(log.run_id) from None

    def _exists(self, run_id: str) -> RunLogExistsError:
        return RunLogExistsError(
            f"Cannot create run {run_id!r} in {self.backend.location}: it exists. Choose another run id, or record "
            "into the run that is there, with add_step_log or join_run.",
            run_id=run_id,
        )

    def get_run_log(self, run_id: str, *, full: bool = True, strict: bool = False) -> RunLog:
        """Return a run as it is now, without waiting for anybody.

        Everything that was acknowledged before the call is in the result.

        Args:
            run_id: the run.
            full: whether steps, branches and parameters are read too.
            strict: whether an unreadable file raises; else it is listed in the log's `problems`.

        Raises:
            RunLogNotFoundError: there is no such run.
            CorruptChunkError: a file cannot be read, and `strict` is set.
        """
        with self._existing(run_id):
            log = self._read(run_id) if full else self._read_metadata(run_id)
        if strict:
            for problem in log.problems:
                if problem.kind not in ("orphan", "time"):
                    raise CorruptChunkError(
                        f"Cannot read all of run {run_id!r}: {problem.file}: {problem.message}. Read it without "
                        "strict=True to get the rest.",
                        file=problem.file,
                        offset=0,
                        reason=problem.message,
                    )
        return log

    def iter_records(self, run_id: str) -> Iterator[StepLog | BranchLog]:
        """Yield the steps and branches of a run in order of execution, each without what is inside it.

        Memory use does not grow with the size of the records, only with their number: some 500 bytes each. Everything
        that was acknowledged before the first is asked for is yielded. What cannot be read is left out, and logged as a
        warning at the end; `get_run_log` has a list of problems, parameters, and everything in its place.

        Args:
            run_id: the run.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            yield from self._stream(run_id)

    def count_steps(self, run_id: str) -> dict[str, int]:
        """Return how many steps of a run, at any depth, have which status.

        The recording API notes it when a run finishes, and `list_runs` returns it from there.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        return step_counts(self.iter_records(run_id))

    def find_problems(self, run_id: str) -> list[Problem]:
        """Return what cannot be read of a run, or is not what the run finished with, without keeping its records.

        `get_run_log` finds, beyond that, records that have no place in the run.

        Args:
            run_id: the run.

        Raises:
            RunLogNotFoundError: there is no such run.
            CorruptChunkError: nothing of it can be read.
        """
        with self._existing(run_id):
            return self._find_problems(run_id)

    def observe(self, run_id: str) -> None:
        """Write later timestamps from now on than all that has been recorded in a run, whatever the clocks say.

        Whoever reads a run whole does that anyhow. The names of its chunks are listed for it.

        Args:
            run_id: the run.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            self._observe(run_id)

    def sum_up(self, run_id: str, *, whole: bool = False) -> Summary:
        """Return what is to be noted of a run that is about to end: how many steps there are, and what its chunks hold.

        With the notes, readers can tell later whether all of it is still there: see `Summary`.

        Args:
            run_id: the run.
            whole: whether the run's log is returned too, as `get_run_log` does.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            return self._sum_up(run_id, whole=whole)

    def get_run_json(self, run_id: str) -> bytes:
        """Return a run as JSON in UTF-8, as `get_run_log(run_id).to_json()` has it, for tools that decode it.

        White space and the order of fields may differ. It costs less where the layout keeps JSON that can be joined.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            return self._read_json(run_id)

    def update_run_log(
        self, run_id: str, change: Callable[[RunLog], RunLog | None], *, with_data: bool = True
    ) -> RunLog:
        """Change a run's own record: status, tag, configuration. No other change is lost or undone.

        A status that says that the run has ended makes all of it durable, at the durability levels `run` and `step`.

        Args:
            run_id: the run.
            change: gets the record without steps and parameters; alters it or returns another. It runs under the run's
                lock: it must be quick and must not call the store.
            with_data: whether the data that the run has in the catalog is made durable with it.

        Returns:
            The record as it is now.

        Raises:
            RunLogNotFoundError: there is no such run.
            InvalidValueError: the change cannot be recorded, or would bypass steps and parameters.
        """
        ends = False

        def checked(log: RunLog) -> RunLog:
            nonlocal ends
            has_ended = is_finished(log)
            if not is_meant(run_id, log.incarnation):
                raise MissingError(run_id)
            incarnation = log.incarnation
            before = summary_of(log) if has_ended else None
            new = changed(log, change)
            if incarnation and new.notes:  # else the record is meant to be as another tool has it
                new.run_config = {**new.run_config, NOTES: {**new.notes, INCARNATION: incarnation}}
            if has_ended and not is_finished(new):
                new = without_late(with_contents(new, None))  # it goes on
            ends = is_finished(new) and not has_ended
            if before is not None and summary_of(new) != before:
                self._say_changed(run_id)
            if new.run_id != run_id:
                raise refused("run_id", "the id of a run cannot change", "Create another run.")
            if new.steps or new.parameters:
                raise refused(
                    "steps" if new.steps else "parameters",
                    "they are records of their own",
                    "Use add_step_log or set_parameters.",
                )
            return new

        with self._existing(run_id):
            log = self._change_metadata(run_id, checked)
            if is_finished(log) and self.backend.durability == AT_THE_END:
                self._make_durable(run_id, has_just_ended=ends)
                if ends and with_data and self._may_have_data(run_id, log.incarnation):
                    self._sync_data(run_id, log.incarnation)
            if is_finished(log) and self.options.seal_finished_runs is not None:
                self._seal_large(log, self.options.seal_finished_runs, has_just_ended=ends)
        return log

    def _may_have_data(self, run_id: str, incarnation: str) -> bool:
        """Tell whether a run may have data, at little cost."""
        catalog = looked_at_afresh(self.catalog_path)
        if not incarnation:
            return os.path.isdir(catalog)
        return any(os.path.isdir(os.path.join(catalog, name)) for name in data_folders(run_id, incarnation))

    @abstractmethod
    def _sync_data(self, run_id: str, incarnation: str) -> None:
        """Make the data durable that a run has in the catalog."""

    def has_run(self, run_id: str) -> bool:
        """Tell whether there is a run of this id, readable or not."""
        check_run_id(run_id)
        return self._has_run(run_id)

"""The run log store that runnable calls."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pydantic import Field, ValidationError
from runnable import datastore, defaults, exceptions, utils
from runnable.context import RunnableContext, get_run_context

from chunkstore import errors
from chunkstore.clock import utc_now
from chunkstore.names import PinnedRunId
from chunkstore.plugins.runnable.file_names import within_limits
from chunkstore.plugins.runnable.pools import have_pools_started_anew
from chunkstore.plugins.runnable.to_models import as_model, as_parameters, as_run_log
from chunkstore.plugins.runnable.to_records import as_record, without_descriptions, without_notes
from chunkstore.records import models
from chunkstore.records.codec import may_hold_marks
from chunkstore.records.fields import ExtraFields
from chunkstore.records.garbage import without_collections
from chunkstore.records.models import NOTES, BranchLog, StepLog
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.named import OBJECT_STORE_TYPE, make_store, unknown_option
from chunkstore.stores.stored import is_finished

logger = logging.getLogger("chunkstore")

_STORE_TYPE = "chunked-fs"
_DEFAULTS = StoreOptions()
_OPTIONS = ("log_folder", "durability", "pretty", "lock_timeout")
_TERMINAL_STATUS = frozenset({defaults.SUCCESS, defaults.FAIL})
#: What gives back the runs of which readers are told that a process runs them, by that, log folder and run id.
_owned: dict[tuple[int, str, str], Callable[[], None]] = {}
#: Likewise, the pipelines of `runnable retry` that go on with them.
_gone_on: dict[tuple[int, str, str], RunnableContext] = {}
#: Executors look up each step several times: listing the folder for it takes a twentieth of the time at most.
_LISTING_SHARE = 20
#: Stores held open at once in a process; executors make a new object for every branch that they run.
_OPEN_STORES = 16


class ChunkstoreRunLogStore(datastore.BaseRunLogStore):
    """Run logs as chunks in a folder or a bucket, safe for any number of processes at once.

    Attributes:
        service_name: executors that start containers know a store in a folder by this name; in a bucket it is another.
        supports_parallel_writes: branches of `parallel` and `map` may run in processes of their own.
        log_folder: the folder that holds the runs; executors that start containers change it.
        durability: what a returned call survives: `process`, `run` or `step`.
        pretty: whether JSON is written with line breaks and indents.
        lock_timeout: seconds to wait for a lock.
        url: the bucket that holds the runs, if that is no folder: `s3://bucket/prefix`.
        client: what the client of the bucket is told; in the configuration, that stands beside the other options. It is
            in no record: there are secrets among it.

    Raises:
        ConfigurationError: a key or a value is not known; the message names the closest right one.
    """

    service_name: str = "chunked-fs"
    supports_parallel_writes: bool = True
    log_folder: str = defaults.LOG_LOCATION_FOLDER
    durability: str = _DEFAULTS.durability
    pretty: bool = _DEFAULTS.pretty
    lock_timeout: float = _DEFAULTS.lock_timeout
    url: str = ""
    client: Any = Field(default=None, exclude=True, repr=False)

    def __init__(self, **config: Any) -> None:
        if config.get("url") is not None:
            checked = make_store(OBJECT_STORE_TYPE, config).options
            super().__init__(**{name: getattr(checked, name) for name in (*_OPTIONS, "url", "client")})
            self.service_name = OBJECT_STORE_TYPE
            return
        for key in config:
            if key not in (*_OPTIONS, "url"):
                raise unknown_option("key for the run log store 'chunkstore'", key, (*_OPTIONS, "url"), key)
        checked = make_store(_STORE_TYPE, {name: value for name, value in config.items() if name != "url"}).options
        super().__init__(**{name: getattr(checked, name) for name in _OPTIONS})

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Arrive in another process.

        runnable runs branches in daemonic processes, which may have no children: what is nested there can only run
        if runnable believes that it has to go one after the other.
        """
        super().__setstate__(state)
        if multiprocessing.current_process().daemon:
            self.supports_parallel_writes = False

    @property
    def store(self) -> ChunkedStore:
        """The store that the settings name now; objects with the same settings share one."""
        options: dict[str, Any] = {"pretty": self.pretty, "lock_timeout": self.lock_timeout}
        if self.url:
            return _open_store(self.url, pickle.dumps({**options, "client": self.client}))
        options |= {"log_folder": os.path.abspath(self.log_folder), "durability": self.durability}
        return _open_store(_STORE_TYPE, pickle.dumps(options))

    def get_summary(self) -> dict[str, Any]:
        """Return what runnable prints about the store at the end of a run."""
        return {"Type": self.service_name, "Location": self.url or self.log_folder}

    # --- runs --------------------------------------------------------------------------------------------------------

    def create_run_log(  # noqa: PLR0917 - runnable's own signature
        self,
        run_id: str,
        dag_hash: str = "",
        use_cached: bool = False,
        tag: str = "",
        original_run_id: str = "",
        status: str = defaults.CREATED,
    ) -> datastore.RunLog:
        """Create a run.

        Raises:
            RunLogExistsError: there is a run of this id, perhaps created by another process just now.
        """
        with _translated_errors(run_id):
            log = self.store.create_run_log(
                run_id,
                dag_hash=dag_hash,
                use_cached=use_cached,
                tag=tag,
                original_run_id=original_run_id,
                status=status,
            )
            if _runs_here():
                self._hold(PinnedRunId(run_id, log.incarnation))
        return as_run_log(log)

    def _hold(self, run_id: PinnedRunId) -> None:
        """Tell readers that this process runs a pipeline, until that has ended."""
        key = self._key(run_id)
        _owned.pop(key, _nothing)()
        _owned[key] = self.store.hold(run_id)

    def _key(self, run_id: str) -> tuple[int, str, str]:
        return os.getpid(), self.store.backend.location, str(run_id)

    def _go_on(self, run_id: str) -> None:
        """Tell readers that a run goes on which is tried again: its first process has died, or it has ended."""
        context, key = get_run_context(), self._key(run_id)
        if context is None or not context.is_retry or context.run_id != run_id or not _runs_here():
            return
        if _gone_on.get(key) is context:
            return  # once: its last steps are recorded after its end
        _gone_on[key] = context
        log = self.store.get_run_log(run_id, full=False)
        self._hold(PinnedRunId(run_id, log.incarnation))
        if is_finished(log) or log.status != defaults.PROCESSING:
            self.update_run_log_status(run_id, defaults.PROCESSING)

    def get_run_log_by_id(self, run_id: str, full: bool = False) -> datastore.RunLog:
        """Return a run.

        Args:
            run_id: the run.
            full: whether steps and branches are read too; without, the run's own record and parameters.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        if full and (found := self._quick_run_log(run_id)):
            return found
        with _translated_errors(run_id):
            log = self.store.get_run_log(run_id, full=full)
            if not full:
                log.parameters = self.store.get_parameters(run_id)
        for problem in log.problems:
            logger.warning("Run %s: %s: %s: %s", run_id, problem.kind, problem.file, problem.message)
        return as_run_log(log)

    def _quick_run_log(self, run_id: str) -> datastore.RunLog | None:
        """Return a whole run straight from its JSON; None if there is anything in it that needs a closer look."""

        def read() -> datastore.RunLog | None:
            with _translated_errors(run_id):
                data = self.store.get_run_json(run_id)
                if may_hold_marks(data) or b'"problems":' in data:
                    return None
                return datastore.RunLog.model_validate_json(data)

        try:
            log = without_collections(read)
        except ValidationError:
            return None  # parameters without a kind, as others than runnable set them
        if log is not None:
            log.run_config.pop(NOTES, None)
        return log

    def put_run_log(self, run_log: datastore.RunLog) -> None:
        """Update a run's status and metadata; steps, branches and parameters that the store holds stay as they are.

        Those that the store does not hold yet are added. A run that does not exist is created whole.
        """
        try:
            self._update_run(run_log.run_id, as_record(run_log, models.RunLog))
        except exceptions.RunLogNotFoundError:
            with _translated_errors(run_log.run_id):
                self.store.add_run_log(as_record(run_log, models.RunLog, inner=True))
        else:
            with _translated_errors(run_log.run_id):
                self._add_missing(run_log.run_id, "", run_log.steps, run_log.parameters)

    def update_run_log_status(self, run_id: str, status: str) -> None:
        """Set the status of a run and nothing else.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        self._update_run(run_id, models.RunLog(run_id=run_id, status=status), only_status=True)

    def _update_run(self, run_id: str, given: models.RunLog, *, only_status: bool = False) -> None:
        def change(log: models.RunLog) -> None:
            log.status = given.status
            if not only_status:
                log.tag, log.dag_hash = given.tag, given.dag_hash
                log.run_config = {**log.run_config, **without_notes(given.run_config)}
                if given.job:
                    log.job = given.job
                if given.extra:
                    log.extra = ExtraFields({**(log.extra or {}), **given.extra})
            notes = {**log.notes, "finished": utc_now()} if given.status in _TERMINAL_STATUS else dict(log.notes)
            if given.status not in _TERMINAL_STATUS:
                notes.pop("finished", None)
            log.run_config[NOTES] = notes

        with _translated_errors(run_id):
            self.store.update_run_log(run_id, change)
            if given.status in _TERMINAL_STATUS:
                _owned.pop(self._key(run_id), _nothing)()

    def get_run_config(self, run_id: str) -> dict[str, Any]:
        """Return how a run was configured.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with _translated_errors(run_id):
            return without_notes(self.store.get_run_log(run_id, full=False).run_config)

    def set_run_config(self, run_id: str, run_config: dict[str, Any]) -> None:
        """Add to how a run was configured.

        Raises:
            RunLogNotFoundError: there is no such run.
        """

        def change(log: models.RunLog) -> None:
            log.run_config = {**log.run_config, **without_notes(run_config)}

        with _translated_errors(run_id):
            self.store.update_run_log(run_id, change)

    # --- parameters --------------------------------------------------------------------------------------------------

    def get_parameters(self, run_id: str, internal_branch_name: str = "") -> dict[str, datastore.Parameter]:
        """Return the parameters of a run, or those of one branch alone.

        Raises:
            RunLogNotFoundError: there is no such run.
            BranchLogNotFoundError: the run has no such branch.
        """
        with _translated_errors(run_id):
            found = self.store.get_parameters(run_id, internal_branch_name or "")
            if internal_branch_name and not found:
                self._check_branch(run_id, internal_branch_name)
        return as_parameters(found)

    def set_parameters(
        self, run_id: str, parameters: dict[str, datastore.Parameter], internal_branch_name: str = ""
    ) -> None:
        """Set some parameters of a run or of one branch; no other is lost, whoever sets it at the same time.

        Raises:
            RunLogNotFoundError: there is no such run.
            BranchLogNotFoundError: the run has no such branch.
        """
        with _translated_errors(run_id):
            if internal_branch_name:
                self._check_branch(run_id, internal_branch_name)
            elif not parameters:
                self.store.get_parameters(run_id)  # is there such a run?
            if parameters:
                self.store.set_parameters(run_id, without_descriptions(parameters), internal_branch_name or "")

    def _check_branch(self, run_id: str, branch: str) -> None:
        if not self.store.has_branch_log(run_id, branch):
            self.store.get_branch_log(run_id, branch, full=False)  # whose error says that there is none

    # --- steps and branches ------------------------------------------------------------------------------------------

    def get_step_log(self, internal_name: str, run_id: str) -> datastore.StepLog:
        """Return a step without the branches inside it.

        Raises:
            RunLogNotFoundError: there is no such run.
            StepLogNotFoundError: the run has no such step.
        """
        with _translated_errors(run_id):
            return as_model(self.store.get_step_log(run_id, internal_name, full=False), datastore.StepLog)

    def add_step_log(self, step_log: datastore.StepLog, run_id: str) -> None:
        """Record a step, or replace what anybody has recorded of it; branches inside it are added where missing.

        Raises:
            RunLogNotFoundError: there is no such run.
            BranchLogNotFoundError: the run has no branch that the step could belong to.
        """
        record = as_record(step_log, StepLog)
        branch = record.internal_name.rpartition(".")[0]
        with _translated_errors(run_id):
            self._go_on(run_id)
            if branch:
                self._check_branch(run_id, branch)
            self.store.put_step_log(run_id, record)
            self._add_missing_branches(run_id, step_log)

    def get_branch_log(self, internal_branch_name: str, run_id: str) -> datastore.BranchLog | datastore.RunLog:
        """Return a branch with its parameters and the steps inside it; without a name, the run.

        Raises:
            RunLogNotFoundError: there is no such run.
            BranchLogNotFoundError: the run has no such branch.
        """
        if not internal_branch_name:
            return self.get_run_log_by_id(run_id)
        with _translated_errors(run_id):
            return as_model(self.store.get_branch_log(run_id, internal_branch_name), datastore.BranchLog)

    def add_branch_log(self, branch_log: datastore.BranchLog | datastore.RunLog, run_id: str) -> None:
        """Record a branch, or update its status; steps and parameters that the store holds stay as they are.

        Those that the store does not hold yet are added. A run is treated as by `put_run_log`.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        if not isinstance(branch_log, datastore.BranchLog):
            self.put_run_log(branch_log)
            return
        with _translated_errors(run_id):
            self.store.put_branch_log(run_id, as_record(branch_log, BranchLog))
            self._add_missing(run_id, branch_log.internal_name, branch_log.steps, branch_log.parameters)

    # What the store holds may be newer than what an executor puts back, so only what it lacks is taken from there.

    def _add_missing(
        self, run_id: str, scope: str, steps: Mapping[str, datastore.StepLog], parameters: Mapping[str, Any]
    ) -> None:
        for step in steps.values():
            if not self.store.has_step_log(run_id, step.internal_name):
                self.store.add_step_log(run_id, as_record(step, StepLog))
            self._add_missing_branches(run_id, step)
        if parameters and not parameters.keys() <= self.store.get_parameters(run_id, scope).keys():
            self.store.set_parameters(run_id, without_descriptions(parameters), scope, overwrite=False)

    def _add_missing_branches(self, run_id: str, step: datastore.StepLog) -> None:
        for branch in step.branches.values():
            if not self.store.has_branch_log(run_id, branch.internal_name):
                self.store.add_branch_log(run_id, as_record(branch, BranchLog))
            self._add_missing(run_id, branch.internal_name, branch.steps, branch.parameters)

    # --- jobs --------------------------------------------------------------------------------------------------------

    def get_job_log(self, run_id: str) -> datastore.JobLog:
        """Return what a job did.

        Raises:
            RunLogNotFoundError: there is no such run.
            JobLogNotFoundError: the run is no job.
        """
        with _translated_errors(run_id):
            job = self.store.get_run_log(run_id, full=False).job
        if not job:
            raise exceptions.JobLogNotFoundError(run_id)
        return as_model(job, datastore.JobLog)

    def add_job_log(self, run_id: str, job_log: datastore.JobLog) -> None:
        """Record what a job did; its status becomes that of the run.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        job = as_record(job_log, models.JobLog)

        def change(log: models.RunLog) -> None:
            log.job = job

        with _translated_errors(run_id):
            self.store.update_run_log(run_id, change)
        self.update_run_log_status(run_id, job.status)


def _runs_here() -> bool:
    """Tell whether this process runs a whole pipeline: executors for clusters create its run and leave."""
    executor = getattr(get_run_context(), "pipeline_executor", None)
    return bool(getattr(executor, "_should_setup_run_log_at_traversal", False))


def _nothing() -> None:
    """Give nothing back."""


@lru_cache(maxsize=_OPEN_STORES)
def _open_store(store_type: str, options: bytes) -> ChunkedStore:
    store = make_store(store_type, pickle.loads(options))  # noqa: S301 - pickled above
    assert isinstance(store, ChunkedStore)
    store.remember_listings(_LISTING_SHARE)
    return store


@contextmanager
def _translated_errors(run_id: str) -> Iterator[None]:
    """Raise runnable's own error where its executors look for one."""
    try:
        yield
    except errors.RunLogNotFoundError as error:
        raise exceptions.RunLogNotFoundError(run_id) from error
    except errors.RunLogExistsError as error:
        raise exceptions.RunLogExistsError(run_id) from error
    except errors.StepLogNotFoundError as error:
        raise exceptions.StepLogNotFoundError(run_id, error.internal_name) from error
    except errors.BranchLogNotFoundError as error:
        raise exceptions.BranchLogNotFoundError(run_id, error.internal_name) from error


# Executors look it up in its module whenever a step begins.
utils.make_log_file_name = within_limits(utils.make_log_file_name)
have_pools_started_anew(lambda: bool(getattr(getattr(get_run_context(), "run_log_store", None), "url", "")))

"""What a step can take over from the run that is resumed."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from msgspec import UNSET

from chunkstore.errors import DataNotFoundError, StoreUsageError
from chunkstore.interrupts import passable
from chunkstore.recording.identity import identities, same_code
from chunkstore.recording.output import OutputFile
from chunkstore.recording.previous import EarlierStep, data_inside, is_same_work, taken_over
from chunkstore.recording.results import result_of
from chunkstore.recording.scope import Scope
from chunkstore.recording.step_record import StepRecord
from chunkstore.records.models import StepLog

_Scope = TypeVar("_Scope", bound=Scope)


class ReusableStep(StepRecord[_Scope]):
    """A step that may be taken over from the run that is resumed, instead of doing its work again."""

    def __init__(self, run: _Scope, log: StepLog) -> None:
        super().__init__(run, log)
        self._output: OutputFile | None = None
        self._data_seen = False
        self._reused = False

    def _earlier(self) -> EarlierStep | None:
        return self.run.previous.step(self.internal_name) if self.run.previous else None

    @property
    def previous(self) -> StepLog | None:
        """What the run that is resumed recorded of this step, or None; a copy, which may be changed."""
        found = self._earlier()
        return None if found is None else copy.deepcopy(found.log)

    @property
    def cached(self) -> bool:
        """Whether `reuse` can take this step over.

        It can if the run that is resumed finished the step, and all inside it, with the same code, and what it put into
        the catalog is still there, unchanged.
        """
        found = self._earlier()
        return found is not None and self._is_reusable(found) and self._has_data(found)

    def _is_reusable(self, found: EarlierStep) -> bool:
        has_result = found.log.result is UNSET or result_of(found.log) is not UNSET
        code = identities(self.run.code_identity, None)
        return found.succeeded and has_result and same_code(found.log.code_identities, code)

    def _has_data(self, found: EarlierStep) -> bool:
        """Tell whether all data of a step is there; once said, it is not looked at again."""
        if not self._data_seen:
            steps = (found.log, *found.inside)
            self._data_seen = all(self.run.catalog.has(data_inside(step), found.run_id) for step in steps)
        return self._data_seen

    def reuse(self) -> Any:
        """Take this step over from the run that is resumed instead of doing its work again.

        What the block prints, before or after, goes on where the output ended that is taken over.

        Returns:
            The result that was set there with `set_result`, or None.

        Raises:
            StoreUsageError: there is nothing to take over; ask `cached` before.
            DataNotFoundError: data that the step put there is gone since `cached` was asked.
        """
        found = self._earlier()
        if found is None or not self._is_reusable(found) or not self._take_over(found):
            raise StoreUsageError(
                f"Cannot take over step {self.name!r}: the run being resumed has not finished it with this code, or "
                "this run has already recorded steps of the names of those inside it. Ask step.cached before."
            )
        result = result_of(found.log)
        return None if result is UNSET else result

    def _reuse_result(self, input_hash: str | None) -> bool:
        found = self._earlier()
        if found is None or not found.succeeded:
            return False
        if not is_same_work(found.log, self._log.code_identities, input_hash):
            return False
        try:
            return self._take_over(found)
        except DataNotFoundError:
            return False  # what it put is gone: only the work itself can make it again

    def _take_over(self, found: EarlierStep) -> bool:
        """Record that a step was taken over, with those inside it; return False if these have no names here."""
        if self._output:
            self._output.suspend()
        try:
            log = taken_over(found.log, found.run_id, self.run.catalog)
            inside = [taken_over(step, found.run_id, self.run.catalog) for step in found.inside]
            if not self.run.claim_names(found.inside):
                return False
            with passable(self._mutex):
                log.user_defined_metrics.update(self._log.user_defined_metrics)
                log.data_catalog += [entry for entry in self._log.data_catalog if entry not in log.data_catalog]
                if not self._log.attempts:
                    self._note_around()
                log.inside, log.inside_attempt = self._log.inside, self._log.inside_attempt
                self._log = log
                self._reused = True
                self._write()
        finally:
            if self._output:
                self._output.resume()
        for step in inside:
            self.run.tell_store(self.run.store.add_step_log, step)
            self.run.keep(step.data_catalog)
        self.run.keep(self._log.data_catalog)
        return True

    def _note_around(self) -> None:
        around = self.run.around()
        if around is not None and around[0] != self.internal_name:
            self._log.inside, attempt = around
            self._log.inside_attempt = attempt if attempt > 1 else UNSET

"""What every store can do with a run when it has been recorded: delete, lock, make durable, pack."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chunkstore.backends.base import AT_THE_END
from chunkstore.names import incarnation_of
from chunkstore.stores.layout import Layout

_T = TypeVar("_T")


class UpkeepMethods(Layout):
    """Deleting runs, keeping others from them, making them durable, packing them."""

    def delete_run(self, run_id: str) -> None:
        """Delete a run's log; it is gone at once for everybody. Data in the catalog stays.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        self.delete_run_if(run_id, lambda: True)

    def delete_run_if(self, run_id: str, condition: Callable[[], bool]) -> bool:
        """Delete a run's log, as `delete_run`, if a condition holds when nobody else may change the run's record.

        Args:
            run_id: the run.
            condition: called while nobody changes the run's record, perhaps several times; it may read the run, and
                must not change it.

        Returns:
            Whether the run was deleted.

        Raises:
            RunLogNotFoundError: there is no such run.
        """

        def is_due() -> bool:
            holds = condition()
            if holds:
                self._say_changed(run_id)
            return holds

        known = self._remembered(run_id)
        with self._existing(run_id):
            is_deleted = self._delete(run_id, is_due)
        if is_deleted:
            self._forget(run_id, known)
        return is_deleted

    def while_locked(self, run_id: str, action: Callable[[], _T]) -> _T:
        """Return what an action returns, called while nobody else may change a run's record or seal the run.

        Args:
            run_id: the run.
            action: it must be quick, and must not call what takes the lock itself.

        Raises:
            RunLogNotFoundError: there is no such run.
            LockTimeoutError: somebody else held the lock all the time.
            StoreUsageError: there are no locks where the runs are.
        """
        with self._existing(run_id):
            self._incarnation(run_id)  # no lock is made where there is no run

            def meant() -> _T:
                if incarnation_of(run_id):
                    self._incarnation(run_id)  # it is still the one that is meant
                return action()

            return self._while_locked(run_id, meant)

    def must_be_durable(self, run_id: str) -> bool:
        """Tell whether what is added to a run must survive a loss of power at once, as the run has ended.

        That is so at the durability level `run`; at the level `step` it must anyhow.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            return self.backend.durability == AT_THE_END and self._must_be_durable(run_id)

    def sync(self, run_id: str) -> None:
        """Return when all of a run that was written so far would survive a loss of power.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            self._sync(run_id)

    def seal(self, run_id: str) -> int:
        """Pack the chunks of a finished run into one file, `Sealed-….jsonl`, which is read faster.

        Nothing else changes: all calls work as before, and what is written later lies beside that file until the run
        is sealed again. The chunks are removed only when the sealed file would survive a loss of power. Stores that
        keep a run in one place have nothing to pack.

        Args:
            run_id: the run.

        Returns:
            How many chunks are in the sealed file; 0 if there was nothing to pack.

        Raises:
            RunLogNotFoundError: there is no such run.
            StoreUsageError: it has not finished.
        """
        with self._existing(run_id):
            return self._seal(run_id)

    def unseal(self, run_id: str) -> None:
        """Give back the chunks of a sealed run as files, byte for byte; nothing happens to a run that is not sealed.

        Raises:
            RunLogNotFoundError: there is no such run.
            ChunkstoreError: a sealed file was damaged; nothing is removed.
        """
        with self._existing(run_id):
            self._unseal(run_id)

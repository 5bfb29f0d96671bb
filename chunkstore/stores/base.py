"""What every store does: the public methods, concrete, over the few primitives that a layout fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol

from chunkstore.backends.base import Backend
from chunkstore.clock import clock
from chunkstore.stores.methods import RecordMethods, RunMethods, UpkeepMethods, WatchingMethods
from chunkstore.stores.options import StoreOptions

if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar  # for the default alone: no dependency

    RunT_co = TypeVar("RunT_co", default=Any, covariant=True)
else:
    from typing import TypeVar

    RunT_co = TypeVar("RunT_co", covariant=True)

__all__ = ["Recorder", "Store", "StoreOptions"]


class Recorder(Protocol[RunT_co]):
    """Starts recordings; `chunkstore.recording` provides it, as it stands on the stores and not below them."""

    def start_run(
        self,
        store: Store,
        run_id: str | None,
        *,
        tag: str,
        parameters: Mapping[str, Any] | None,
        resume: str | None,
        resume_live: bool,
        run_config: Mapping[str, Any] | None,
        capture_output: bool,
    ) -> RunT_co:
        """See `Store.start_run`."""

    def join_run(self, store: Store, run_id: str, *, create: bool, tag: str, capture_output: bool) -> RunT_co:
        """See `Store.join_run`."""

    def sync_data(self, store: Store, run_id: str, incarnation: str) -> None:
        """Return when the data of a run would survive a loss of power."""


class Store(RunMethods, RecordMethods, WatchingMethods, UpkeepMethods, Generic[RunT_co]):
    """A place for run logs, safe for any number of writers at once.

    What records a run stands on the stores and not below them, so a store does not know the type of what `start_run`
    returns: `chunkstore.Store` is the store of which that is `chunkstore.Run`.

    Args:
        backend: where the bytes live.
        options: see `StoreOptions`.
    """

    #: Returns what starts recordings. The package sets it: it is imported when somebody records.
    load_recorder: ClassVar[Callable[[], Recorder]]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.backend.location}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The receiver owns no record, and what it writes shall be ordered after what the sender has seen.
        return _unpickle, (type(self), self.backend, self.options, self.catalog_path, clock.latest)

    def anew(self) -> Self:
        """Return a store object for the same place that has recorded nothing yet, and so replaces nothing."""
        new = type(self)(self.backend, self.options)
        new.catalog_path = self.catalog_path
        return new

    def close(self) -> None:
        """Give back what is held open; the store can be used again."""
        self.backend.close()

    def start_run(
        self,
        run_id: str | None = None,
        *,
        tag: str = "",
        parameters: Mapping[str, Any] | None = None,
        resume: str | None = None,
        resume_live: bool = False,
        run_config: Mapping[str, Any] | None = None,
        capture_output: bool = True,
    ) -> RunT_co:
        """Create a run and return the object that records it; use it in a `with` block, or call its `finish`.

        Args:
            run_id: the run's name; None for a generated one.
            tag: any text that groups runs.
            parameters: those of the run.
            resume: the id of an earlier run: what succeeded there is taken over instead of being run again.
            resume_live: whether that is done also while somebody still records the earlier run, which then writes the
                same outputs.
            run_config: how the run is configured.
            capture_output: whether what steps print is kept in the catalog as `<step>.execution.log`.

        Raises:
            RunLogExistsError: there is a run of this id.
            RunLogNotFoundError: there is no run to resume.
            RunLivesError: somebody still records it.
        """
        recorder: Recorder[RunT_co] = type(self).load_recorder()
        return recorder.start_run(
            self,
            run_id,
            tag=tag,
            parameters=parameters,
            resume=resume,
            resume_live=resume_live,
            run_config=run_config,
            capture_output=capture_output,
        )

    def join_run(self, run_id: str, *, create: bool = False, tag: str = "", capture_output: bool = True) -> RunT_co:
        """Return an object that records into a run which other processes record too.

        Leaving it does not finish the run; somebody calls its `finish`.

        Args:
            run_id: the run.
            create: whether the run is created if it does not exist; of many processes that try, one creates it.
            tag: the tag of a run that is created here.
            capture_output: as for `start_run`.

        Raises:
            RunLogNotFoundError: there is no such run, and `create` is not set.
        """
        recorder: Recorder[RunT_co] = type(self).load_recorder()
        return recorder.join_run(self, run_id, create=create, tag=tag, capture_output=capture_output)

    def _sync_data(self, run_id: str, incarnation: str) -> None:
        type(self).load_recorder().sync_data(self, run_id, incarnation)


def _unpickle(cls: type[Store], backend: Backend, options: StoreOptions, catalog_path: str, latest: int) -> Store:
    clock.observe(latest)
    store = cls(backend, options)
    store.catalog_path = catalog_path
    return store

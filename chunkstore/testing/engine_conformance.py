"""The conformance suite for engines: what `map` and `parallel` promise, whatever runs the branches."""

from __future__ import annotations

from chunkstore.testing.suite_engine_drivers import EngineDriverSuite
from chunkstore.testing.suite_engine_failures import EngineFailureSuite
from chunkstore.testing.suite_engine_results import EngineResultSuite


class EngineConformance(EngineResultSuite, EngineFailureSuite, EngineDriverSuite):
    """Runs any engine through everything that `map` and `parallel` promise of branches.

    Subclass it in a test module of pytest, say how the engine is opened, and declare what it cannot do::

        @contextmanager
        def open_my_engine():
            with MyPool(workers=2) as pool:
                yield pool

        class TestMyEngine(EngineConformance):
            open_engine = staticmethod(open_my_engine)
            survives_deaths = False

    `open_engine()` gives, for a `with` block, what is passed as `executor=`: an engine of at least two workers. It is
    called in this process, in programs that the suite starts, and in workers, so it is something at the top of a module
    that these can import. Where a cluster is slow to start, let a fixture start it and `open_engine` connect to it.

    The tests of one class share the fixture `engine`. `shared_folder` is a new folder that workers see at the same
    path, `tmp_path` unless it is overridden; the runs are recorded in the fixture `store`, which lies in it.

    Attributes:
        open_engine: opens the engine; to be given.
        other_processes: whether workers are other processes than the driver.
        survives_deaths: whether a branch whose worker dies fails, or is run again, and the others go on; False where
            the driver dies with its workers.
        breaks_at_death: whether the engine cannot be used afterwards, as a pool of the standard library.
        workers_have_children: whether a branch may map over a pool of processes.
        opens_in_workers: whether `open_engine` works in a branch.
        many: how many items are many; fewer where a branch takes seconds to start.
        driver: the command that runs a Python program which opens the engine, such as `mpiexec -n 3 python -m
            mpi4py.futures`; this Python by default.
        patience: seconds after which a test that has not ended counts as one that hangs.
    """

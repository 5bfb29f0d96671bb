"""The conformance suite: what every store promises, whatever it is made of."""

from __future__ import annotations

from chunkstore.testing.suite_records import RecordSuite
from chunkstore.testing.suite_runs import RunSuite
from chunkstore.testing.suite_sealing import SealingSuite
from chunkstore.testing.suite_sharing import SharingSuite
from chunkstore.testing.suite_updates import UpdateSuite
from chunkstore.testing.suite_values import ValueSuite


class StoreConformance(RunSuite, RecordSuite, UpdateSuite, ValueSuite, SharingSuite, SealingSuite):
    """Runs any store through everything that chunkstore promises.

    Subclass it in a test module of pytest, give the fixture `open_another`, and declare what the store cannot do::

        class TestMyStore(StoreConformance):
            shared_between_processes = False

            @pytest.fixture
            def open_another(self, tmp_path):
                return lambda: MyStore(tmp_path)

    `open_another()` returns a store object over runs that are empty when a test begins; calling it again gives another
    object over the same runs.

    Attributes:
        shared_between_processes: whether a pickled store works in another process, on the same runs.
        independent_objects: whether `open_another` gives objects that own nothing of each other's; False for a store
            that is one object.
        fences_former_owners: whether a record stays as it is when the owner of an older record of that name goes on
            writing.
        publishes_whole: whether a new record is whole from the first moment that its name is there; False where a
            reader may meet an empty file and report it.
    """

"""Every store keeps every promise of the conformance suite across two clients of one NFS export."""

import itertools

import pytest

import chunkstore
from chunkstore.testing import StoreConformance
from chunkstore.testing.suite_base import SuiteBase
from chunkstore.testing.suite_runs import RunSuite
from chunkstore.testing.suite_sealing import SealingSuite
from chunkstore.testing.suite_sharing import SharingSuite
from chunkstore.testing.suite_updates import UpdateSuite
from nfs.hosts import Hosts


class AcrossTwoMounts(SuiteBase):
    """Store objects look at the runs through one mount and the other in turn."""

    store_type = "chunked-fs"
    options = {}  # noqa: RUF012 - nobody alters it
    mount_options = ""
    # Starting an interpreter takes seconds here; processes that are forked count in `test_many_writers`.
    test_processes_lose_nothing = None

    @pytest.fixture
    def hosts(self):
        return Hosts(self.mount_options)

    @pytest.fixture
    def open_another(self, folders):
        turns = itertools.cycle(folders)
        return lambda: chunkstore.open_store(self.store_type, log_folder=next(turns), **self.options)


class TestChunkedFolder(AcrossTwoMounts, StoreConformance):
    """All but what says the same of every file system, and takes many seconds here: random values."""

    test_any_json_value_reads_back_exactly = None
    test_any_object_can_be_a_field_of_users = None
    test_any_tree_of_steps_reads_back_exactly = None
    test_any_run_can_be_added_whole_and_read_as_json = None
    test_any_step_can_be_put_over_any_other = None
    # Takes as long; journals are sealed below.
    test_sealing_changes_nothing_that_any_call_returns = None


class TestDurableChunkedFolder(AcrossTwoMounts, UpdateSuite):
    options = {"durability": "step"}  # noqa: RUF012 - as above


class TestJournals(AcrossTwoMounts, UpdateSuite, SharingSuite, SealingSuite):
    options = {"container": "journal", "durability": "process"}  # noqa: RUF012 - as above


class TestDocumentFolder(AcrossTwoMounts, RunSuite, UpdateSuite, SharingSuite):
    store_type = "file-system"


class TestWithoutCachedAttributes(AcrossTwoMounts, UpdateSuite, SharingSuite):
    mount_options = "noac"


class TestWithoutCachedNames(AcrossTwoMounts, UpdateSuite, SharingSuite):
    mount_options = "lookupcache=none"

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

    @pytest.fixture
    def hosts(self):
        return Hosts(self.mount_options)

    @pytest.fixture
    def open_another(self, folders):
        turns = itertools.cycle(folders)
        return lambda: chunkstore.open_store(self.store_type, log_folder=next(turns), **self.options)


class WithoutNewInterpreters:
    """Starting an interpreter takes seconds here; one suite does it."""

    test_processes_lose_nothing = None


class TestChunkedFolder(AcrossTwoMounts, StoreConformance):
    pass


class TestDurableChunkedFolder(WithoutNewInterpreters, AcrossTwoMounts, UpdateSuite, SharingSuite):
    options = {"durability": "step"}  # noqa: RUF012 - as above


class TestJournals(WithoutNewInterpreters, AcrossTwoMounts, UpdateSuite, SharingSuite, SealingSuite):
    options = {"container": "journal", "durability": "process"}  # noqa: RUF012 - as above


class TestDocumentFolder(WithoutNewInterpreters, AcrossTwoMounts, RunSuite, UpdateSuite, SharingSuite):
    store_type = "file-system"


class TestWithoutCachedAttributes(WithoutNewInterpreters, AcrossTwoMounts, UpdateSuite, SharingSuite):
    mount_options = "noac"


class TestWithoutCachedNames(WithoutNewInterpreters, AcrossTwoMounts, UpdateSuite, SharingSuite):
    mount_options = "lookupcache=none"

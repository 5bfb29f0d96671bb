"""Every store keeps every promise of the conformance suite across two clients of one NFS export."""

import itertools

import pytest

import chunkstore
from chunkstore.testing import StoreConformance


class AcrossTwoMounts(StoreConformance):
    """Store objects look at the runs through one mount and the other in turn."""

    options = ("chunked-fs", {})

    @pytest.fixture
    def open_another(self, folders):
        kind, options = self.options
        turns = itertools.cycle(folders)
        return lambda: chunkstore.open_store(kind, log_folder=next(turns), **options)


class TestDocumentFolder(AcrossTwoMounts):
    options = ("file-system", {})

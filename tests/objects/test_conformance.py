"""Stores and back ends over object stores keep every promise that those on a disk keep."""

import pytest

import chunkstore
from chunkstore.backends.objects.backend import ObjectBackend
from chunkstore.backends.objects.place import Place
from chunkstore.testing import BackendConformance, StoreConformance


class TestBackend(BackendConformance):
    """Of each kind of server, and in memory."""

    kind = ObjectBackend

    @pytest.fixture
    def open_another(self, object_place):
        return lambda: ObjectBackend(Place(object_place.url, object_place.options))


class TestStoreInMemory(StoreConformance):
    """Nothing of it can be sent to another process."""

    shared_between_processes = False

    @pytest.fixture
    def open_another(self, memory_place):
        return lambda: chunkstore.open_store(memory_place.url)


@pytest.mark.thorough
class TestStoreInS3(StoreConformance):
    @pytest.fixture
    def open_another(self, s3_place):
        return lambda: chunkstore.open_store(s3_place.url, **s3_place.options)

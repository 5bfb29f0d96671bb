"""Stores and back ends over object stores keep every promise that those on a disk keep."""

import pytest

import chunkstore
from chunkstore.backends.objects.backend import ObjectBackend
from chunkstore.backends.objects.place import Place
from chunkstore.testing import BackendConformance, StoreConformance


class TestBackend(BackendConformance):
    """Of each kind of server."""

    kind = ObjectBackend

    @pytest.fixture
    def open_another(self, server_place):
        return lambda: ObjectBackend(Place(server_place.url, server_place.options))


class TestBackendInMemory(BackendConformance):
    """Whose process lives as long as what is in it."""

    kind = ObjectBackend
    test_a_holder_is_said_to_live_until_it_gives_the_file_back = None  # type: ignore[assignment]

    @pytest.fixture
    def open_another(self, memory_place):
        return lambda: ObjectBackend(Place(memory_place.url))


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

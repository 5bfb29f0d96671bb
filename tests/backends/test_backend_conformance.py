"""Every back end keeps every promise that stores rely on."""

import pytest

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.memory import MemoryBackend
from chunkstore.testing import BackendConformance
from chunkstore.testing.plain_backend import PlainBackend


class TestFolder(BackendConformance):
    kind = DirectoryBackend

    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: DirectoryBackend(tmp_path / "logs")


class TestMemory(BackendConformance):
    kind = MemoryBackend

    @pytest.fixture
    def open_another(self):
        backend = MemoryBackend()
        return lambda: backend


class TestPlain(BackendConformance):
    kind = PlainBackend

    @pytest.fixture
    def open_another(self):
        backend = PlainBackend()
        return lambda: backend


def test_what_a_back_end_cannot_do_is_not_tested():
    assert TestPlain.test_a_file_is_added_to is None
    assert TestFolder.test_a_file_is_added_to is not None

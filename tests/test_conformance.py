"""Every store keeps every promise of the conformance suite."""

import pytest

import chunkstore
from chunkstore.backends.directory import DirectoryBackend
from chunkstore.backends.folder import Folder
from chunkstore.backends.memory import MemoryBackend
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing import StoreConformance
from chunkstore.testing.faults import FaultySyscalls


class TestChunkedFolder(StoreConformance):
    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")


class TestChunkedFolderPrettyAndDurable(StoreConformance):
    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs", durability="step", pretty=True)


class TestChunkedFolderWithShortWrites(StoreConformance):
    # A store that is sent works with the system calls of the other process, which write all at once.
    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: ChunkedStore(DirectoryBackend(tmp_path / "logs", syscalls=FaultySyscalls(short_writes=True)))


class TestDocumentFolder(StoreConformance):
    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("file-system", log_folder=tmp_path / "logs")


class TestBuffered(StoreConformance):
    shared_between_processes = False
    independent_objects = False

    @pytest.fixture
    def open_another(self):
        store = chunkstore.open_store("buffered")
        return lambda: store


class TestChunkedMemory(StoreConformance):
    shared_between_processes = False

    @pytest.fixture
    def open_another(self):
        backend = MemoryBackend()
        return lambda: ChunkedStore(backend)


class TestDocumentMemory(StoreConformance):
    shared_between_processes = False

    @pytest.fixture
    def open_another(self):
        backend = MemoryBackend()
        return lambda: DocumentStore(backend)


class TestWithoutUnnamedFiles(StoreConformance):
    """As on a file system without O_TMPFILE."""

    @pytest.fixture(autouse=True)
    def _no_unnamed_files(self, monkeypatch):
        monkeypatch.setattr("chunkstore.backends.folder.has_unnamed_files", lambda: False)

    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")


class TestWithoutHardLinks(StoreConformance):
    """As on a file system without O_TMPFILE and without hard links."""

    publishes_whole = False

    @pytest.fixture(autouse=True)
    def _no_links(self, monkeypatch):
        original = Folder.__init__

        def init(folder, *arguments, **options):
            original(folder, *arguments, **options)
            folder._unnamed = folder._links = False

        monkeypatch.setattr(Folder, "__init__", init)

    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")

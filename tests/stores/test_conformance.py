"""Every store keeps every promise of the conformance suite."""

import itertools

import pytest

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.folder import Folder
from chunkstore.backends.memory import MemoryBackend
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.stores.writing import sealing
from chunkstore.testing import StoreConformance
from chunkstore.testing.faults import FaultySyscalls
from chunkstore.testing.plain_backend import PlainBackend
from chunkstore.testing.suite_records import RecordSuite
from chunkstore.testing.suite_sealing import SealingSuite
from chunkstore.testing.suite_sharing import SharingSuite
from chunkstore.testing.suite_updates import UpdateSuite


class TestChunkedFolder(StoreConformance):
    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")


@pytest.mark.thorough
class TestChunkedFolderPrettyAndDurable(StoreConformance):
    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs", durability="step", pretty=True)


@pytest.mark.thorough
class TestJournals(StoreConformance):
    """Chunks as lines of one file per writer."""

    @pytest.fixture
    def open_another(self, tmp_path):
        logs = tmp_path / "logs"
        return lambda: chunkstore.open_store("chunked-fs", log_folder=logs, durability="process", container="journal")


@pytest.mark.thorough
class TestDurableJournals(RecordSuite, UpdateSuite, SealingSuite):
    @pytest.fixture
    def open_another(self, tmp_path):
        logs = tmp_path / "logs"
        return lambda: chunkstore.open_store("chunked-fs", log_folder=logs, durability="step", container="journal")


class SealedBehindTheScenes(ChunkedStore):
    """Everything that is written is sealed at once by somebody else; every third time it is unsealed."""

    def _seal_run(self, run_id):
        others = ChunkedStore(DirectoryBackend(self.backend.location), self.options)

        def seal(change):
            sealing.seal(others.backend, change, run_id, None, pretty=others.options.pretty)

        others.backend.change(run_id, seal)
        if next(self._turns) % 3 == 0:
            others.unseal(run_id)

    _turns = itertools.count()

    def _put(self, run_id, *arguments):
        super()._put(run_id, *arguments)
        self._seal_run(run_id)

    def _change(self, run_id, *arguments):
        changed = super()._change(run_id, *arguments)
        self._seal_run(run_id)
        return changed

    def _append_metrics(self, run_id, *arguments):
        super()._append_metrics(run_id, *arguments)
        self._seal_run(run_id)

    def _set_parameters(self, run_id, *arguments, **options):
        super()._set_parameters(run_id, *arguments, **options)
        self._seal_run(run_id)


@pytest.mark.thorough
class TestSealedBehindTheScenes(UpdateSuite, SharingSuite):
    """Whatever a run is packed in at whatever time, it is the same run."""

    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: SealedBehindTheScenes(DirectoryBackend(tmp_path / "logs"))


@pytest.mark.thorough
class TestJournalsSealedBehindTheScenes(UpdateSuite, SealingSuite):
    @pytest.fixture
    def open_another(self, tmp_path):
        options = StoreOptions(container="journal")
        return lambda: SealedBehindTheScenes(DirectoryBackend(tmp_path / "logs"), options)


@pytest.mark.thorough
class TestChunkedFolderWithShortWrites(StoreConformance):
    # A store that is sent works with the system calls of the other process, which write all at once.
    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: ChunkedStore(DirectoryBackend(tmp_path / "logs", syscalls=FaultySyscalls(short_writes=True)))


class TestDocumentFolder(StoreConformance):
    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("file-system", log_folder=tmp_path / "logs")


@pytest.mark.thorough
class TestBuffered(StoreConformance):
    shared_between_processes = False
    independent_objects = False

    @pytest.fixture
    def open_another(self):
        store = chunkstore.open_store("buffered")
        return lambda: store


@pytest.mark.thorough
class TestChunkedMemory(StoreConformance):
    shared_between_processes = False

    @pytest.fixture
    def open_another(self):
        backend = MemoryBackend()
        return lambda: ChunkedStore(backend)


class TestChunkedOverWhatEveryBackendHas(StoreConformance):
    """Without locks, journals, cheap looks, or anything else that only some back ends have."""

    shared_between_processes = False

    @pytest.fixture
    def open_another(self):
        backend = PlainBackend()
        return lambda: ChunkedStore(backend)


@pytest.mark.thorough
class TestDocumentMemory(StoreConformance):
    shared_between_processes = False

    @pytest.fixture
    def open_another(self):
        backend = MemoryBackend()
        return lambda: DocumentStore(backend)


@pytest.mark.thorough
class TestWithoutUnnamedFiles(StoreConformance):
    """As on a file system without O_TMPFILE."""

    @pytest.fixture(autouse=True)
    def _no_unnamed_files(self, monkeypatch):
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)

    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")


@pytest.mark.thorough
class TestWithoutHardLinks(StoreConformance):
    """As on a file system without O_TMPFILE and without hard links."""

    lacking = ("has_unnamed_files", "has_hard_links")

    @pytest.fixture(autouse=True)
    def _no_links(self, monkeypatch):
        original = Folder.__init__

        def init(folder, *arguments, **options):
            original(folder, *arguments, **options)
            for ability in self.lacking:
                setattr(folder, ability, False)

        monkeypatch.setattr(Folder, "__init__", init)

    @pytest.fixture
    def open_another(self, tmp_path):
        return lambda: chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")


@pytest.mark.thorough
class TestWithoutRenamesToNewNames(TestWithoutHardLinks):
    """As on a file system that does not have those either."""

    publishes_whole = False
    lacking = ("has_unnamed_files", "has_hard_links", "has_exclusive_renames")

"""A run in which something is made to be wrong, and what `verify` finds in it."""

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.maintenance.checking import verify
from chunkstore.stores.chunked import ChunkedStore

RUN = "run"
LONG_AGO = 1706852981689005000
CHUNK = "StepLog-load-1706852981689005000.json"


def another(logs, syscalls=None):
    backend = DirectoryBackend(logs, syscalls=syscalls or Syscalls())
    return ChunkedStore(backend)


def found(store, run_id=None, **options):
    return list(verify(store, run_id, **options))


def kinds(store, run_id=None, **options):
    return [(one.severity, one.kind, one.file) for one in found(store, run_id, **options)]


def file_of(run, kind):
    (path,) = run.glob(f"{kind.removesuffix('-')}-*")
    return path


def contents(folder):
    """Return all bytes below a folder, wherever they are, and how often."""
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))

"""chunkstore as a run log store of `runnable` (https://pypi.org/project/runnable/), its entry point `chunkstore`.

```yaml
run-log-store:
  type: chunkstore
  config:
    log_folder: .run_log_store # or url: s3://bucket/prefix
```

runnable hands over and expects its own pydantic models, and executors get a record, change it and put it back whole,
from many processes at once. This package translates; `ChunkedStore` does everything else.
"""

from chunkstore.plugins.runnable.store import ChunkstoreRunLogStore

__all__ = ["ChunkstoreRunLogStore"]

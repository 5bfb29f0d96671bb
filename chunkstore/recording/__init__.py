"""What authors of pipelines call: runs, steps, maps and parallel branches that record themselves."""

from chunkstore.recording.run import Recorder
from chunkstore.stores.base import Store

Store.recorder = Recorder()

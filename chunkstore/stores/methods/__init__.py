"""The public methods that every store has, by what they are about; `stores.base.Store` has them all."""

from chunkstore.stores.methods.records import RecordMethods
from chunkstore.stores.methods.runs import RunMethods
from chunkstore.stores.methods.upkeep import UpkeepMethods
from chunkstore.stores.methods.watching import WatchingMethods

__all__ = ["RecordMethods", "RunMethods", "UpkeepMethods", "WatchingMethods"]

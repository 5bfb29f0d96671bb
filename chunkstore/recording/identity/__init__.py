"""Which code ran, and with what: git's commit, a hash of the function, and one of what it was called with."""

from chunkstore.recording.identity.comparison import identities, same_code
from chunkstore.recording.identity.git import git_identity
from chunkstore.recording.identity.hashing import InputHash, function_identity, input_hash
from chunkstore.recording.identity.names import name_of

__all__ = ["InputHash", "function_identity", "git_identity", "identities", "input_hash", "name_of", "same_code"]

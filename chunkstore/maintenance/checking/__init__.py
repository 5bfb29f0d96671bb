"""Finding everything that is wrong in a store, and moving damaged files out of the way."""

from chunkstore.maintenance.checking.findings import NOTE, PROBLEM, Finding
from chunkstore.maintenance.checking.verification import verify

__all__ = ["NOTE", "PROBLEM", "Finding", "verify"]

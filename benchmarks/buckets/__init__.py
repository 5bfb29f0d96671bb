"""Measurements on an object store: ratios to bare obstore on the same server, and to another place for such records."""

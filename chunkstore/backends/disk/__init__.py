"""A folder of a file system as the place of bytes: names, locks, syncs, and what file systems do wrong."""

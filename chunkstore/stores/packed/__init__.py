"""Many chunks in one file: journals while a run is written, sealed files after it."""

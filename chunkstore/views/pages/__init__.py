"""One run, one step, or the newest runs, for terminals and notebooks."""

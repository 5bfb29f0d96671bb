"""Finding, reading and following the chunks of one run."""

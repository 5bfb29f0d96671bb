"""Writing the chunks of runs: new ones, changes, parameters, and packing them into sealed files."""

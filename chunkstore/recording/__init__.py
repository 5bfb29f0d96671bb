"""What authors of pipelines call: runs, steps, maps and parallel branches that record themselves.

`chunkstore` hands on `Run`, `Step`, `current_run` and `current_step`. This package does not: who asks it for less, as
what deletes data asks for the catalog, does not load them and the pools of processes that they need.
"""

"""What authors of pipelines call: runs, steps, maps and parallel branches that record themselves."""

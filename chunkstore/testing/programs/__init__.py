"""Programs that the conformance suites start."""

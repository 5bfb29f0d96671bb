"""What ran when: spans, lanes, the critical path; drawn in a terminal, on a page, as a trace."""

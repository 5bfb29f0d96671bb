"""Measurements: ratios to the bare system calls on the same bytes and names, and to other places for such records."""

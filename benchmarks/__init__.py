"""Measurements, as ratios to the bare system calls on the same bytes and names."""

"""Run log stores: a layout over a backend."""

"""Copying runs from one store into another, of any two types: once, or again and again while they are recorded."""

from chunkstore.maintenance.copying.copies import copy_runs
from chunkstore.maintenance.copying.report import CopyReport, RunCopy

__all__ = ["CopyReport", "RunCopy", "copy_runs"]

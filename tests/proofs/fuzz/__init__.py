"""Inputs that nobody thought of, for everything that parses bytes or text from a store or a user.

Each target states a property: any bytes give a value or the documented error, and what has a round trip comes back. The
tests replay the corpus that lies here and the seeds; `python -m tests.proofs.fuzz` looks for more, guided by coverage.
"""

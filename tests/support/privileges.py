"""Tests that need what not every machine has: a tool, or the rights of root."""

import os

import pytest


def skip_or_fail(reason):
    """Skip a test for a reason; fail where CI has promised that nothing is missing."""
    if os.environ.get("CHUNKSTORE_NO_SKIPS"):
        pytest.fail(f"nothing may be skipped here, but {reason}")
    pytest.skip(reason)

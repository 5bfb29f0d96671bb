"""Type checkers see the public API as it is meant: an example that uses all of it, checked by mypy."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from privileges import skip_or_fail

PROJECT = Path(__file__).parent.parent


@pytest.mark.thorough
def test_the_public_api_has_the_types_that_users_expect():
    if find_spec("mypy") is None:
        skip_or_fail("mypy is not installed")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "tests/typing/api.py"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in {0, 1}, result.stderr
    # Types of other packages need not be installed here: errors in what is imported are not this test's.
    assert not [line for line in result.stdout.splitlines() if line.startswith("tests/")], result.stdout

"""Runs tests with a deliberate defect in the code, in a process that has imported pytest and nothing of the project."""

import os
import sys

import pytest
import sitecustomize


def run_tests(name, arguments, environment, output):
    """Run pytest with a defect in chunkstore; return its exit code.

    Args:
        name: of the defect.
        arguments: for pytest.
        environment: variables that are set, also for the children of the tests.
        output: the path of a file that gets what is printed.
    """
    os.environ.update(environment)
    sys.argv = ["pytest", *arguments]
    with open(output, "wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sitecustomize.apply(name)
    return int(pytest.main(arguments))

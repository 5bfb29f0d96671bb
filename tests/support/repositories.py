"""Git as tests run it."""

import os
import shutil
import subprocess

import pytest


def git(*arguments):
    """Run git in the working folder, without the configuration of whoever runs the tests."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    result = subprocess.run(["git", *arguments], check=True, capture_output=True, env=environment)
    return result.stdout.decode().strip()

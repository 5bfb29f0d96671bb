"""Real processes that record runs in a real object store: killed, stopped, and at their end."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from programs import environment

from chunkstore.backends.objects.backend import ObjectBackend
from chunkstore.backends.objects.place import Place
from chunkstore.testing import proxy as proxies

pytestmark = pytest.mark.thorough

EVERY, MISSED = 0.2, 10
OURS = "a" * 16

HOLDER = textwrap.dedent(
    """
    import json, sys
    from chunkstore.backends.objects.backend import ObjectBackend
    from chunkstore.backends.objects.place import Place

    ObjectBackend.renewed_every = 0.2
    url, options, file, how = json.loads(sys.argv[1])
    backend = ObjectBackend(Place(url, options))
    release = backend.hold(
        "run", file, b'{"host": "me"}', together=file == ".joined", incarnation="a" * 16, is_there=lambda: True
    )
    print("held", flush=True)
    sys.stdin.readline()
    if how == "raise":
        raise SystemExit(3)
    """
)


class Holder:
    """A process that holds the owner of a run until it is told to end."""

    def __init__(self, place, file=".owner", how=""):
        told = json.dumps([place.url, place.options, file, how])
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        assert self.process.stdout.readline() == "held\n", self.process.communicate(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def end(self):
        """Let it end by itself; return its exit code, and what it complained of."""
        _, errors = self.process.communicate("\n", timeout=60)
        return self.process.returncode, errors


def reader(place):
    return ObjectBackend(Place(place.url, place.options))


def is_alive(place, file=".owner"):
    """Look as a command does that has just begun."""
    held = reader(place).holder("run", file, OURS)
    return None if held is None else held.is_alive


def until(is_so, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def test_a_killed_owner_is_lost_after_the_documented_silence_and_not_before(server_place):
    with Holder(server_place) as holder:
        assert is_alive(server_place) is True
        holder.process.kill()
        killed_at = time.monotonic()
        assert is_alive(server_place) is True
        until(lambda: is_alive(server_place) is False)
        assert time.monotonic() - killed_at > EVERY * (MISSED - 1)


def test_a_process_that_was_stopped_for_longer_than_that_lives_again(s3_place):
    with Holder(s3_place) as holder:
        os.kill(holder.process.pid, signal.SIGSTOP)
        until(lambda: is_alive(s3_place) is False)
        os.kill(holder.process.pid, signal.SIGCONT)
        until(lambda: is_alive(s3_place) is True)
        assert holder.end() == (0, "")


@pytest.mark.parametrize("file", [".owner", ".joined"])
@pytest.mark.parametrize("how", ["", "raise"])
def test_renewing_neither_keeps_a_process_alive_nor_changes_how_it_ends(s3_place, file, how):
    with Holder(s3_place, file, how) as holder:
        assert holder.end() == (3 if how else 0, "")
    left = [entry.name for entry in reader(s3_place).entries("run")] if file == ".owner" else []
    assert left == ([".owner"] if file == ".owner" else [])
    assert reader(s3_place).joined("run", ".joined", OURS) is None  # who ends in order leaves


@pytest.mark.parametrize("file", [".owner", ".joined"])
def test_a_server_that_does_not_answer_does_not_keep_a_process_from_ending(s3_place, file):
    with (
        s3_place.behind_proxy() as (behind, proxy),
        Holder(behind, file) as holder,
        proxy.failing(proxies.SILENCE, times=None) as planned,
    ):
        until(lambda: planned.hit)
        before = time.monotonic()
        code, _ = holder.end()
        assert code == 0
        assert time.monotonic() - before < 15

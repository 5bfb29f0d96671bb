"""The servers that tests of object stores run against: what a back end relies on holds there, and they end."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PreconditionError

SUPPORT = Path(__file__).parent.parent / "support"
_BAD_TAG = {"e_tag": '"0123456789abcdef"', "version": "17"}


@pytest.fixture
def bare(server_place):
    """Bare obstore at a prefix of its own."""
    return server_place.bare()


def token(stored):
    """Return what a conditional put takes: `version` must not be there if it is None."""
    return {name: stored[name] for name in ("e_tag", "version") if stored[name] is not None}


def test_create_only_lets_one_creator_win(bare):
    obstore.put(bare, "a", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(bare, "a", b"second", mode="create")
    assert obstore.get(bare, "a").bytes() == b"first"


def test_a_put_if_unchanged_is_refused_after_a_change(bare):
    first = obstore.put(bare, "a", b"first", mode="create")
    second = obstore.put(bare, "a", b"second", mode=token(first))
    for stale in (token(first), {name: _BAD_TAG[name] for name in token(first)}):
        with pytest.raises(PreconditionError):
            obstore.put(bare, "a", b"third", mode=stale)
    assert token(obstore.get(bare, "a").meta) == token(second)


def test_metadata_comes_back_with_the_object(bare):
    obstore.put(bare, "a", b"", mode="create", attributes={"incarnation": "abc"})
    assert obstore.get(bare, "a").attributes["incarnation"] == "abc"


def test_listings_go_on_after_a_page_and_begin_after_an_offset(bare):
    for number in range(12):
        obstore.put(bare, f"run/a-{number:02d}", b"x")
        obstore.put(bare, f"run-two/b-{number:02d}", b"x")
    listed = [each["path"] for page in obstore.list(bare, "run", offset="run/a-03", chunk_size=5) for each in page]
    listed = [path for path in listed if path > "run/a-03"]  # Azurite does not know offsets
    assert listed == [f"run/a-{number:02d}" for number in range(4, 12)]
    assert sorted(obstore.list_with_delimiter(bare)["common_prefixes"]) == ["run", "run-two"]
    obstore.delete(bare, listed)
    assert len(obstore.list(bare, "run").collect()) == 4


def test_large_objects_go_up_in_parts_and_come_down_in_ranges(bare):
    data = os.urandom(6 << 20)
    obstore.put(bare, "large", data, use_multipart=True, chunk_size=5 << 20)
    assert obstore.get(bare, "large").bytes() == data
    assert obstore.get_range(bare, "large", start=100, end=200) == data[100:200]


_USER = f"""
import os, sys
sys.path.insert(0, {str(SUPPORT)!r})
from pathlib import Path
from servers.seaweed import Seaweed
server = Seaweed(Path(sys.argv[1])).__enter__()
print(server.endpoint, flush=True)
sys.stdin.read()
if sys.argv[2] == "exit":
    server.__exit__()
"""


@pytest.mark.thorough
def test_a_server_is_shared_and_ends_with_the_last_process_that_uses_it_however_that_ends(tmp_path):
    def start(how):
        return subprocess.Popen(
            [sys.executable, "-c", _USER, str(tmp_path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    with start("exit") as first, start("killed") as second:
        endpoints = {process.stdout.readline() for process in (first, second)}
        assert len(endpoints) == 1
        noted = json.loads((tmp_path / "seaweed.json").read_text())
        guard = Path(f"/proc/{noted['guard']}/task/{noted['guard']}/children")
        server = int(guard.read_text())
        first.stdin.close()
        first.wait()
        os.kill(server, 0)
        second.kill()
    with open(tmp_path / "seaweed.users", "r+") as users:
        fcntl.lockf(users, fcntl.LOCK_EX)  # held by who guards the server, until it is gone
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    assert not list(Path("/tmp").glob(f"seaweedfs-*-{noted['port']}.sock"))

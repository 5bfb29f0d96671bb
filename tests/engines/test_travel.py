"""How a branch gets to a worker, and what is said where it cannot be taken."""

import os
import pickle
import socket
import subprocess
import sys

import pytest

import chunkstore
from chunkstore.engines.travel import CALL, dumped
from engines import work


def test_a_function_is_sent_by_value_that_no_other_process_can_import():
    sent = dumped((lambda item: item + 1, (1,)))
    code = f"import pickle; function, (item,) = pickle.loads({sent!r}); print(function(item))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "2\n"


def test_what_only_a_script_defines_is_sent_by_value(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from chunkstore.engines.travel import dumped\n"
        "def double(item):\n    return 2 * item\n"
        "print(repr(dumped((double, (3,)))))\n"
    )
    sent = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True).stdout
    code = f"import pickle; function, (item,) = pickle.loads({sent}); print(function(item))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "6\n"


def test_what_can_be_imported_is_sent_by_its_name():
    assert dumped(os.path.join) == pickle.dumps(os.path.join)


def test_the_error_about_what_cannot_be_sent_is_that_of_pickle():
    with pytest.raises(TypeError, match="pickle"):
        dumped(each for each in [])


def test_a_worker_without_chunkstore_says_which_it_is_and_what_is_missing():
    """Nothing of ours is there when an engine unpickles what it was given: only the call itself fails, and says why."""
    call, data = pickle.dumps(CALL), dumped((chunkstore.current_run, ()))
    code = f"import pickle; pickle.loads(pickle.dumps(pickle.loads({call!r})))({data!r})"
    worker = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    last = worker.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: The worker on ")
    for told in (socket.gethostname(), sys.executable, "No module named 'chunkstore'", "Install chunkstore there"):
        assert told in last


def test_a_call_runs_what_was_sent():
    assert CALL(dumped((work.double, (3,)))) == 6


def test_who_has_unpickled_a_call_can_hand_it_on():
    """A scheduler that does so for each branch must not have to pickle code by value: that costs milliseconds."""
    call = pickle.dumps(CALL)
    code = f"import pickle; print(pickle.dumps(pickle.loads({call!r})) == {call!r})"
    scheduler = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert scheduler.stdout == "True\n"
    assert pickle.loads(call) is CALL

"""Imports, repairs and cleaning up can be killed anywhere: nothing that counts is lost, and the next try finishes."""

import itertools
import os
import re
import signal
from collections import Counter

import pytest
from kernel_calls import TRACED
from upkeep import UPKEEP, Prepared
from zygote import in_small_process

from chunkstore.testing.system_trace import run_under_strace

pytestmark = pytest.mark.usefixtures("quick_collections")

#: Only some of the calls, which are others for each way; the torture command comes to all of them.
EVERY = 8
_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
#: How many kills there are by way of the kernel.
SAMPLE = 15


def check_killed_at_calls(folder, name, late):
    prepared, kills = Prepared(name, folder), 0
    for number in itertools.count(1 + late * EVERY // 2, EVERY):
        was_killed = prepared.killed_at(number, late=late)
        prepared.check_after_kill(f"{name}, call {number}")
        if not was_killed:
            break
        kills += 1
    assert kills > 10


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", UPKEEP)
def test_what_keeps_a_store_in_order_can_be_killed_anywhere_and_done_again(folder, name, late):
    in_small_process(check_killed_at_calls, folder, name, late)


def check_killed_at_calls_of_the_kernel(folder, name):
    prepared, log = Prepared(name, folder), os.path.join(folder, "log")

    def killed(*options):
        top = prepared.fresh()
        return run_under_strace(lambda: prepared.work.do(top), ["-o", log, "-e", f"trace={TRACED}", *options])

    assert killed() == 0
    with open(log, encoding="utf-8", errors="replace") as lines:
        counts = Counter(_CALL.findall(lines.read()))
    places = [(call, number) for call, count in sorted(counts.items()) for number in range(2, count + 1)]
    kills = 0
    for call, number in places[:: max(1, len(places) // SAMPLE)]:
        code = killed("-e", f"inject={call}:signal=KILL:when={number}")
        assert code in {0, -signal.SIGKILL}
        kills += code != 0
        prepared.check_after_kill(f"{name}, {call} {number}")
    assert kills > SAMPLE / 2


@pytest.mark.thorough
@pytest.mark.usefixtures("_strace")
@pytest.mark.parametrize("name", UPKEEP)
def test_what_keeps_a_store_in_order_can_be_killed_at_any_call_of_the_kernel(folder, name):
    in_small_process(check_killed_at_calls_of_the_kernel, folder, name)

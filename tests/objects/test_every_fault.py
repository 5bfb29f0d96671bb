"""Each fault at each request of each operation: it returned and is there, or it raised and the store is whole."""

import pytest
from operations import LIKE_OTHERS, OPERATIONS, SEALING

from chunkstore.backends import optimistic
from chunkstore.backends.objects import waits
from chunkstore.testing.proxy import DROPPED, EVERY_FAULT, LOST_REPLY, REPEATED, refused
from objects.worlds import hit_at_every_request

#: What goes each way that there is.
_IN_FULL = ("create", "add", "update", "set parameters", "delete")
#: One of each kind that those can tell from others that go the same ways.
_KINDS = (LOST_REPLY, REPEATED, refused(503, "SlowDown"))
_QUICK = ("create", "add", "update")


def _cases():
    for operation in (*OPERATIONS, *SEALING):
        faults = EVERY_FAULT if operation in _IN_FULL else _KINDS[:1] if operation in LIKE_OTHERS else _KINDS
        for fault in faults:
            is_quick = operation in _QUICK and fault is LOST_REPLY
            yield pytest.param(operation, fault, marks=() if is_quick else pytest.mark.thorough)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    for module in (waits, optimistic):
        monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)
        monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.0)


@pytest.mark.parametrize(("operation", "fault"), list(_cases()), ids=str)
def test_an_operation_that_a_fault_hits_is_done(s3_place, s3_proxy, operation, fault):
    assert hit_at_every_request(s3_place, s3_proxy, operation, fault, 1) > 0 or operation == "sync"


@pytest.mark.thorough
@pytest.mark.parametrize("fault", [DROPPED, LOST_REPLY], ids=str)
@pytest.mark.parametrize("operation", [each for each in (*OPERATIONS, *SEALING) if each not in LIKE_OTHERS])
def test_an_operation_in_which_the_network_fails_for_good_raises_and_can_be_done_again(
    s3_place, s3_proxy, operation, fault
):
    assert hit_at_every_request(s3_place, s3_proxy, operation, fault, None) > 0 or operation == "sync"

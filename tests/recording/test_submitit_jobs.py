"""In a job of submitit's that goes back into the queue, a function has no result yet, whatever it does."""

import os
import signal

import pytest

from chunkstore.engines.in_submitit_job import JobWork, Requeued


@pytest.fixture
def told():
    """What submitit has in a job: a handler that requeues it and leaves."""

    def checkpoint_and_try_requeue(number, frame):
        raise SystemExit(-1)

    before = signal.signal(signal.SIGUSR2, checkpoint_and_try_requeue)
    yield
    signal.signal(signal.SIGUSR2, before)


def work():
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        signal.pause()
    except SystemExit as left:
        return f"answers all the same: {type(left).__name__}"


def test_who_answers_all_the_same_gives_no_result(told):
    with pytest.raises(Requeued, match="back into the queue"):
        JobWork(work)()


def test_without_a_signal_the_result_is_the_functions(told):
    assert JobWork(lambda: 5)() == 5


def test_handlers_of_others_are_left_alone(told):
    mine = signal.signal(signal.SIGUSR2, lambda *_: None)
    here = signal.getsignal(signal.SIGUSR2)
    JobWork(int)()
    assert signal.getsignal(signal.SIGUSR2) is here
    signal.signal(signal.SIGUSR2, mine)

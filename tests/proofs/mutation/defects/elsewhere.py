"""Workers elsewhere: whether they see what their driver sees, and what batch systems do to them."""

from mutant import Mutant

from defects.sources import SHARING, SUBMITIT_JOB, TERMINATIONS, WHOLE_RUN, WORKER_VERDICT

_SHARING = "tests/recording/test_sharing.py -k '{}'"
_TERMINATIONS = "tests/recording/test_terminations.py -k '{}'"
_RANKS = "tests/recording/test_ranks.py -k '{}'"
_ASKED = "tests/maintenance/test_workers.py -k '{}'"

MUTANTS = (
    Mutant(
        "a worker that does not see the run is one branch that fails, among others",
        SHARING,
        "    try:\n        run.store.get_run_log(run.identity, full=False)",
        "    try:\n        raise ChunkstoreError('')",
        _SHARING.format("told_of"),
    ),
    Mutant(
        "a run that was deleted is taken for a folder that is not shared",
        SHARING,
        "    except ChunkstoreError:\n        return",
        "    except ChunkstoreError:\n        pass",
        _SHARING.format("deleted"),
    ),
    Mutant(
        "SIGTERM raises nothing in a job",
        TERMINATIONS,
        "    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:",
        "    if False:",
        _TERMINATIONS.format("says_so"),
    ),
    Mutant(
        "SIGTERM is taken from a program that handles it",
        TERMINATIONS,
        "    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:",
        "    if True:",
        _TERMINATIONS.format("elsewhere"),
    ),
    Mutant(
        "SIGTERM is handled outside of jobs too",
        TERMINATIONS,
        "    if not job_here() or threading",
        "    if threading",
        _TERMINATIONS.format("elsewhere"),
    ),
    Mutant(
        "SIGTERM does not reach a child that was just forked",
        TERMINATIONS,
        "before=_hold_back, after_in_parent=_let_through, after_in_child=_leave_to_parent",
        "after_in_child=_leave_to_parent",
        _TERMINATIONS.format("children"),
    ),
    Mutant(
        "a lock of the driver's that keeps no worker out is no finding",
        WORKER_VERDICT,
        '        if told["kept_out"] is not True:',
        "        if False:",
        _ASKED.format("lacks and locks"),
    ),
    Mutant(
        "a lock of a worker's that keeps the driver out is not tried",
        WORKER_VERDICT,
        "_is_true(name, title, tried.kept_out,",
        "_is_true(name, title, True,",
        _ASKED.format("lacks and own"),
    ),
    Mutant(
        "clocks are compared the wrong way around",
        WORKER_VERDICT,
        'low, high = max(low, tried.held - tried.seen), min(high, told["tried"] - tried.told)',
        'low, high = tried.seen - tried.held, tried.told - told["tried"]',
        _ASKED.format("clocks"),
    ),
    Mutant(
        "a job that goes back into the queue has a result",
        SUBMITIT_JOB,
        "        if left:\n            raise left[0]",
        "        left.clear()",
        "tests/recording/test_submitit_jobs.py",
    ),
    Mutant(
        "a rank that died has come back once another process of its job joins",
        "chunkstore/stores/runs/liveness.py",
        "        return self.job != other.job and ",
        "        return bool(self.job) and ",
        _RANKS.format("same_job"),
    ),
    Mutant(
        "a process has left a run though one of its threads is at work",
        WHOLE_RUN,
        "        if not (self._finishes or self._open or self.left):",
        "        if not self._finishes:",
        _RANKS.format("one_of_its_threads"),
    ),
)

"""Who records a run in a bucket, which processes may use one, and what is cleared up there."""

from mutant import Mutant

_HOLDING = "chunkstore/backends/objects/holding.py"
_RENEWING = "chunkstore/backends/objects/renewing.py"
_PROCESSES = "chunkstore/backends/objects/processes.py"
_LEFT = "chunkstore/backends/objects/left_overs.py"
_LISTING = "chunkstore/backends/objects/listing.py"
_OWNERS = "tests/objects/test_owners.py -k '{}'"
_CLEARED = "tests/objects/test_left_overs.py -k '{}'"

MUTANTS = (
    Mutant(
        "whoever is not surely alive is dead",
        _HOLDING,
        "is_alive=True if self._server.is_exact or seen.has_changed else None",
        "is_alive=bool(self._server.is_exact or seen.has_changed)",
        _OWNERS.format("first_look"),
    ),
    Mutant(
        "what is left of another run tells who records this one",
        _HOLDING,
        'if found is None or found.incarnation not in {"", incarnation}:\n            return None',
        "if found is None:\n            return None",
        _OWNERS.format("another_run"),
    ),
    Mutant(
        "the owner of a run that was deleted goes on as that of another",
        _RENEWING,
        "            if not is_there:\n                return False",
        "            if False:\n                return False",
        _OWNERS.format("made_anew or deleted"),
    ),
    Mutant(
        "whoever was silent for long removes what is another's by now",
        _RENEWING,
        "if self._is_ours and (was_renewed or (self.renew() and not self._failures)):",
        "if self._is_ours:",
        _OWNERS.format("taken_over"),
    ),
    Mutant(
        "a fault of the server ends the renewing",
        _RENEWING,
        "            self._note_failure(error)\n",
        "            self._is_ours = False\n",
        _OWNERS.format("faults or begins"),
    ),
    Mutant(
        "a forked child sends requests",
        _PROCESSES,
        "    if _is_forked or _user not in {0, present}:",
        "    if False:",
        "tests/objects/test_forks.py -k memory",
    ),
    Mutant(
        "what a creator is about to use is cleared up",
        _LEFT,
        "_older(listed, now, IN_RUNS) if each is not deciding",
        "_older(listed, now, 0.0) if each is not deciding",
        _CLEARED.format("of_the_same_id"),
    ),
    Mutant(
        "what belongs to a run that was made anew meanwhile is cleared up",
        _LEFT,
        "            if again is not None and not is_tombstone(again) and again.incarnation == found.incarnation:\n",
        "            if again is not None:\n",
        _CLEARED.format("made_anew"),
    ),
    Mutant(
        "a run that was made after the runs were listed is taken to be over",
        _LEFT,
        "is_over=ends.get(folder))",
        "is_over=ends.get(folder, True))",
        _CLEARED.format("after_the_runs_were_listed"),
    ),
    Mutant(
        "what lies where there is no run is removed without a look whether there is one by now",
        _LEFT,
        "            yield _Left(listed, partial(clear_folder, self.client, folder, None))\n",
        "            yield self._alone(listed)\n",
        _CLEARED.format("lay_without_a_run"),
    ),
    Mutant(
        "a list goes by the order of bytes where a server has an order of its own",
        _LISTING,
        'self._position if self._is_known(page[0]["path"]) else ""',
        "self._position",
        "tests/objects/test_object_backend.py -k listed_once",
    ),
)

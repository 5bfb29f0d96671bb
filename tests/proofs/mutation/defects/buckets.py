"""What keeps runs in object stores whole: conditions, lost replies, deletions, and which run is meant."""

from mutant import Mutant

_BACKEND = "chunkstore/backends/objects/backend.py"
_CLIENT = "chunkstore/backends/objects/client.py"
_READER = "chunkstore/backends/objects/reader.py"
_DELETING = "chunkstore/backends/objects/tombstones.py"
_PROMISES = "tests/objects/test_object_backend.py -k '{}'"
_REPLIES = "tests/objects/test_lost_replies.py -k '{}'"

MUTANTS = (
    Mutant(
        "a lost reply of a put is a conflict",
        _CLIENT,
        "if found is not None and found.writers.startswith(writer):",
        "if False:",
        _REPLIES.format("put_new_is_there"),
    ),
    Mutant(
        "a change that was changed again is made anew",
        _CLIENT,
        "elif found is not None and found.has_been_put_by(writer):",
        "elif False:",
        _REPLIES.format("changed_again"),
    ),
    Mutant(
        "half of what was put is taken for the whole",
        _CLIENT,
        "                    if found.data == data:\n",
        "                    if True:\n",
        _REPLIES.format("torn"),
    ),
    Mutant(
        "a server is believed that was not tried",
        _BACKEND,
        "            probe(self.client)\n",
        "            pass\n",
        _PROMISES.format("ignores_conditions"),
    ),
    Mutant(
        "what a former run has left is a part of the next",
        _READER,
        "if found.incarnation != run.incarnation and run.incarnation:",
        "if False:",
        _PROMISES.format("memory and former_run"),
    ),
    Mutant(
        "who means a former run changes the next",
        _BACKEND,
        "        if found and found != incarnation:\n",
        "        if False:\n",
        _PROMISES.format("memory and means_the_former"),
    ),
    Mutant(
        "a deletion is taken over while its deleter may live",
        _DELETING,
        "        if is_tombstone(found) and not _is_abandoned(client, found):\n",
        "        if False:\n",
        _PROMISES.format("memory and killed"),
    ),
    Mutant(
        "a read in whose middle the run is deleted is whole",
        _BACKEND,
        "            reader.check_at_the_end()\n",
        "",
        _PROMISES.format("memory and in_whose_middle"),
    ),
)

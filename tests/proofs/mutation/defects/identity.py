"""Which code ran, and with what."""

from mutant import Mutant

_GRAPH = "chunkstore/recording/identity/graph.py"
_FUNCTIONS = "chunkstore/recording/identity/functions.py"
_KNOWN = "chunkstore/recording/identity/known.py"
_COMPARISON = "chunkstore/recording/identity/comparison.py"
_COMMANDS = "chunkstore/recording/identity/git_commands.py"
_CHANGES = "chunkstore/recording/identity/git_changes.py"
_GIT = "chunkstore/recording/identity/git.py"
_CODE = "tests/recording/test_code_identity.py"
_ARGUMENTS = "tests/recording/test_argument_hashes.py"
_OF_GIT = "tests/recording/test_git_identity.py"

MUTANTS = (
    Mutant(
        "a set is hashed in the order that it has in this process",
        _GRAPH,
        'b"".join(sorted(flat))',
        'b"".join(flat)',
        f"{_ARGUMENTS} -k in_every_process",
    ),
    Mutant(
        "objects that lead back to themselves are told apart by their labels alone",
        _GRAPH,
        "            if len(distinct) == amount:",
        "            if amount or len(distinct) == amount:",
        f"{_ARGUMENTS} -k different_values",
    ),
    Mutant(
        "what closures hold is no part of a function",
        _FUNCTIONS,
        'yield named(b"state") if rules.is_state(place_of_cell(cell), value) else value',
        'yield named(b"state")',
        f"{_CODE} -k 'depends_on and closure'",
    ),
    Mutant(
        "the hash of a function is kept though what it reads has changed",
        _KNOWN,
        "    return lambda: names.get(name, _NOTHING) is value",
        "    return lambda: value is value",
        f"{_CODE} -k assigned_anew",
    ),
    Mutant(
        "what is unknown is the same as itself",
        _COMPARISON,
        "not any(map(is_unknown, (*before, *after))) and ",
        "",
        f"{_CODE} -k never_taken_over",
    ),
    Mutant(
        "git runs the filters of the user",
        _COMMANDS,
        "        self._filters = tuple(names)\n",
        "",
        f"{_OF_GIT} -k 'no_setting and filter'",
    ),
    Mutant(
        "the environment of a hook says which repository is meant",
        _COMMANDS,
        '_KEPT = ("GIT_CEILING_DIRECTORIES"',
        '_KEPT = ("GIT_DIR", "GIT_CEILING_DIRECTORIES"',
        f"{_OF_GIT} -k 'environment_of_a_hook and GIT_DIR'",
    ),
    Mutant(
        "a dirty submodule is a clean one",
        _CHANGES,
        'return b"" if current == commit.encode() and not changes else',
        'return b"" if current == commit.encode() else',
        f"{_OF_GIT} -k submodule",
    ),
    Mutant(
        "the commit is found once per process",
        _GIT,
        "seen.facts == _facts(top, seen.files)",
        "seen.facts",
        f"{_OF_GIT} -k living_process",
    ),
)

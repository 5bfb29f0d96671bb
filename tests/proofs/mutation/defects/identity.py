"""Which code ran, and with what."""

from mutant import Mutant

_GRAPH = "chunkstore/recording/identity/graph.py"
_CODE_FACTS = "chunkstore/recording/identity/code.py"
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
        "the names of arguments in a call are read where Python 3.11 and 3.12 do not have them",
        _CODE_FACTS,
        "_constant(code.co_consts[found.arg or 0])",
        "_constant(found.argval)",
        f"{_CODE} -k 'depends_on and names'",
    ),
    Mutant(
        "what stands beside something that cannot be pickled is no part of a constant",
        _GRAPH,
        "return part if issubclass(type(part), (type, FunctionType, Raw, Loose)) else Loose(part)",
        "return part",
        f"{_CODE} -k 'depends_on and beside'",
    ),
    Mutant(
        "functions that are registered in a class do not count",
        _FUNCTIONS,
        "                parts.append(registered)\n",
        "                pass\n",
        f"{_CODE} -k 'depends_on and registered'",
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
        "the configuration says where the working tree is",
        _COMMANDS,
        '{"GIT_WORK_TREE": folder} if is_tree else {}',
        "{}",
        f"{_OF_GIT} -k 'no_setting and bare'",
    ),
    Mutant(
        "a dirty submodule is a clean one",
        _CHANGES,
        'return b"" if current == commit.encode() and not changes else',
        'return b"" if current == commit.encode() else',
        "tests/recording/test_git_modules.py -k submodule",
    ),
    Mutant(
        "the commit is found once per process",
        _GIT,
        "seen.facts == _facts(top, seen.files)",
        "seen.facts",
        f"{_OF_GIT} -k living_process",
    ),
)

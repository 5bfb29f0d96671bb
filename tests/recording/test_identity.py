"""Which function ran: a hash of what it does."""

import functools
import os
import subprocess
import sys

import pytest

from chunkstore.recording.identity import function_identity
from recording import work


def identity(source, name="f", **variables):
    """Return the identity of a function that is defined by a text."""
    namespace = {"__name__": "module", **variables}
    exec(compile(source, "module.py", "exec"), namespace)
    found = function_identity(namespace[name])
    return found.code_identifier if found else None


SAME = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    return x + 2\n",
        "def f(x):\n    return x - 1\n",
        "def f(x, y=3):\n    return x + 1\n",
        "def f(x):\n    return (lambda: x + 1)()\n",
        "def f(x):\n    return x + True\n",
        "def f(x):\n    return x + 1.0\n",
    ],
)
def test_another_body_is_another_identity(source):
    assert identity(source) != identity(SAME)


@pytest.mark.parametrize("source", ["# comment\n\n" + SAME, "\n\ndef f(x):\n    # why\n    return x + 1\n"])
def test_comments_and_place_do_not_matter(source):
    assert identity(source) == identity(SAME)


def with_helper(helper, constant="1", default="2"):
    return (
        f"LIMIT = {constant}\n"
        f"def helper(x, y={default}):\n    return {helper}\n"
        "def middle(x):\n    return helper(x)\n"
        "def f(x):\n    return middle(x) + LIMIT\n"
    )


def test_a_helper_of_the_same_module_a_constant_and_a_default_matter():
    base = identity(with_helper("x + 1"))
    assert identity(with_helper("x + 1")) == base
    assert identity(with_helper("x + 2")) != base
    assert identity(with_helper("x + 1", constant="3")) != base
    assert identity(with_helper("x + 1", default="3")) != base


@pytest.mark.parametrize(
    ("one", "other", "change"),
    [
        ("[]", "[1]", "SEEN.append(x)"),
        ("{}", "{1: 2}", "SEEN[x] = x"),
        ("{1: 2}", "{}", "del SEEN[(x, x)]"),
        ("{}", "{1: 2}", "SEEN[x] += 1"),
        ("set()", "{1}", "SEEN.add(x)"),
        ("{1: [3]}", "{1: []}", "SEEN[x].append(3)"),
    ],
)
def test_lists_and_dicts_that_the_function_changes_do_not_matter(one, other, change):
    source = f"SEEN = {{}}\ndef note(x):\n    {change}\ndef f(x):\n    note(x)\n    return SEEN\n"
    assert identity(source.format(one)) == identity(source.format(other))


@pytest.mark.parametrize(("one", "other"), [("[]", "[1]"), ("{}", "{1: 2}"), ("set()", "{1}"), ("[1]", "(1,)")])
def test_lists_and_dicts_that_nothing_changes_are_constants(one, other):
    source = "TABLE = {}\ndef f(x):\n    return TABLE\n"
    assert identity(source.format(one)) != identity(source.format(other))


def test_counters_that_the_function_changes_do_not_matter():
    source = "count = {}\ndef f(x):\n    global count\n    count += 1\n    return x\n"
    assert identity(source.format(0)) == identity(source.format(7))


def test_running_a_function_does_not_change_its_identity():
    calls, total = [], 0

    def count(item):
        nonlocal total
        calls.append(item)
        total += 1
        return total

    before = function_identity(count)
    count(1)
    assert function_identity(count) == before


def test_what_a_closure_holds_matters():
    def make(factor):
        return lambda item: item * factor

    assert function_identity(make(2)) == function_identity(make(2))
    assert function_identity(make(2)) != function_identity(make(3))


def test_arguments_of_a_partial_matter():
    assert function_identity(functools.partial(work.die_for, (1,))) != function_identity(
        functools.partial(work.die_for, (2,))
    )


def test_functions_that_call_each_other_have_an_identity():
    source = "def g(x):\n    return f(x - 1) if x else 0\ndef f(x):\n    return g(x)\n"
    assert identity(source) == identity(source) is not None


def test_methods_and_callable_objects_have_an_identity():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, item):
            return item * self.factor

        def apply(self, item):
            return item * self.factor

    for make in (Scale, lambda factor: Scale(factor).apply):
        assert function_identity(make(2)) == function_identity(make(2))
        assert function_identity(make(2)) != function_identity(make(3))


def test_a_builtin_has_none_and_is_recorded_all_the_same(store):
    assert function_identity(abs) is None
    with store.start_run("run") as run:
        assert run.step("load", abs, -1) == 1
    assert store.get_step_log("run", "load").code_identities == []


def test_the_identity_is_the_same_in_every_process():
    program = (
        "from chunkstore.recording.identity import function_identity\n"
        "import string\n"
        "def f(x):\n    return x in {'a', 'b', 'c', 'd'} and f and string.digits\n"
        "print(function_identity(f).code_identifier)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(outputs) == 1

"""Which edits make a function another one: all that it reaches in its own module, whichever way, and nothing else."""

import dataclasses
import functools
import itertools
import os
import random
import re
import subprocess
import sys
import threading
import types
import unittest.mock
import xmlrpc.client
from pathlib import Path
from typing import ClassVar

import loky
import numpy as np
import pytest

import chunkstore
from chunkstore.recording.identity import function_identity, same_code
from recording import work

_IMPORTS = (
    "import abc, collections, contextlib, dataclasses, datetime, decimal, enum, functools, operator, re, typing\n"
)
_numbers = itertools.count()


def edits(name):
    """Return the edits of a file: what is imported, with `«old→new»` for what is edited, and what is run."""
    text = Path(__file__).with_name(name).read_text()
    for block in text.split("### ")[1:]:
        head, _, body = block.partition("\n")
        title, _, call = head.rpartition(": ")
        before = re.sub("«(.*?)→(.*?)»", r"\1", body, flags=re.DOTALL)
        after = re.sub("«(.*?)→(.*?)»", r"\2", body, flags=re.DOTALL)
        yield pytest.param(before, after, call, id=title)


def identity_of(source, call="f", name="module_x"):
    """Return the identity of what a module has under a name."""
    module = sys.modules[name] = types.ModuleType(name)
    try:
        exec(compile(_IMPORTS + source, f"/{next(_numbers)}.py", "exec"), module.__dict__)
        found = function_identity(module.__dict__[call])
    finally:
        del sys.modules[name]
    assert not found.code_identifier.startswith("unknown"), found
    return found.code_identifier


@pytest.mark.parametrize(("before", "after", "call"), list(edits("edits_that_count.txt")))
def test_an_edit_of_what_a_function_depends_on_counts(before, after, call):
    assert identity_of(before, call) == identity_of(before, call) != identity_of(after, call)


@pytest.mark.parametrize(("before", "after", "call"), list(edits("edits_that_do_not.txt")))
def test_an_edit_of_anything_else_does_not(before, after, call):
    assert identity_of(before, call) == identity_of(after, call)


def test_an_identity_is_the_same_in_every_process_and_folder(tmp_path):
    bodies = [param.values[0] for param in edits("edits_that_count.txt")][::4]
    for number, folder in enumerate(["here", "there"]):
        (tmp_path / folder).mkdir()
        for index, body in enumerate(bodies):
            (tmp_path / folder / f"m{index}.py").write_text(
                "\n" * number + _IMPORTS + body.replace("module_x", f"m{index}")
            )
    program = (
        "import sys, importlib\nfrom chunkstore.recording.identity import function_identity\n"
        "for number in range(int(sys.argv[1])):\n"
        "    names = vars(importlib.import_module(f'm{number}'))\n"
        "    found = names.get('q') or names.get('f') or names['h']\n"
        "    print(function_identity(found).code_identifier)\n"
    )
    printed = set()
    for seed, folder in (("1", "here"), ("2", "there")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([folder, *sys.path])}
        command = [sys.executable, "-c", program, str(len(bodies))]
        printed.add(subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True).stdout)
    assert len(printed) == 1
    assert b"unknown" not in printed.pop()


# --- what changes while a process lives ------------------------------------------------------------------------------

TABLE = {"rate": 1}
RATE = 1


def reading():
    return TABLE["rate"], RATE


class Holder:
    limit = 1

    def get(self):
        return self.limit


def holding():
    return Holder().get()


def test_what_is_assigned_anew_in_a_living_process_counts(monkeypatch):
    before = function_identity(reading)
    assert function_identity(reading) == before
    monkeypatch.setitem(TABLE, "rate", 2)
    assert function_identity(reading) != before
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "RATE", 1.0)
    assert function_identity(reading) != before
    monkeypatch.undo()
    assert function_identity(reading) == before


def test_a_class_that_is_changed_in_a_living_process_counts(monkeypatch):
    before = function_identity(holding)
    for name, value in [("limit", 2), ("get", lambda self: 3), ("more", 1)]:
        with monkeypatch.context() as patch:
            patch.setattr(Holder, name, value, raising=False)
            assert function_identity(holding) != before
    assert function_identity(holding) == before


def test_defaults_and_closures_that_change_in_a_living_process_count():
    limits = [1]

    def limited(item, limit=limits):
        return item, limit, limits

    before = function_identity(limited)
    limits.append(2)
    changed = function_identity(limited)
    limited.__defaults__ = (3,)
    assert len({one.code_identifier for one in (before, changed, function_identity(limited))}) == 3


def test_running_a_method_that_only_counts_does_not_change_its_identity():
    class Counter:
        def __init__(self):
            self.calls, self.seen = 0, []

        def work(self, item):
            self.calls += 1
            self.seen.append(item)
            return item

    counter = Counter()
    before = function_identity(counter.work)
    counter.work(1)
    assert function_identity(counter.work) == before


def test_what_a_function_works_with_is_no_part_of_it(store):
    with store.start_run("one") as one, store.start_run("two") as two:

        def make(run, lock):
            return lambda: (run, lock)

        assert function_identity(make(one, threading.Lock())) == function_identity(make(two, threading.Lock()))


# --- strange functions -----------------------------------------------------------------------------------------------


class Refusing:
    def __call__(self, item):
        return item

    def __getattribute__(self, name):
        raise ValueError(name)


class NoState:
    def __call__(self, item):
        return item

    def __reduce_ex__(self, protocol):
        raise OSError("no state today")


def looping(item):
    return item


looping.__wrapped__ = looping
looping.__module__ = 7
MODULUS = 1 << 16384


def with_modulus(item):
    return item % MODULUS


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return lambda item: (value, item)[1]


STRANGE = {
    "remote": lambda: xmlrpc.client._Method(lambda name, arguments: 4, "add"),
    "mock": lambda: unittest.mock.Mock(return_value=4),
    "refusing": Refusing,
    "no state": NoState,
    "wraps itself": lambda: looping,
    "giant number": lambda: with_modulus,
    "C": lambda: abs,
    "type": lambda: int,
}


@pytest.mark.parametrize("name", STRANGE)
def test_no_function_is_too_strange_to_be_run(store, name):
    for run_id, resume in (("first", None), ("second", "first")):
        with store.start_run(run_id, resume=resume) as run:
            assert run.step("strange", STRANGE[name](), 4) == 4
            assert run.map("each", [4], STRANGE[name](), executor=work.threads()) == [4]


@pytest.mark.thorough
def test_no_function_holds_too_much_to_be_run(store):
    with store.start_run("first") as run:
        assert run.step("deep", deep(), 4) == 4


def test_what_nothing_is_known_of_is_never_taken_over_and_says_so(store):
    calls = []

    def go(run_id, resume=None):
        function = functools.partial(lambda stream, item: calls.append(item) or item, (n for n in ()))
        with store.start_run(run_id, resume=resume) as run:
            run.step("load", function, 1)

    go("first")
    go("second", "first")
    assert calls == [1, 1]
    (one,), (other,) = (store.get_step_log(run_id, "load").code_identities for run_id in ("first", "second"))
    assert one.code_identifier != other.code_identifier
    assert "cannot pickle 'generator' object" in one.code_identifier_message
    assert not same_code([one], [one])


def test_a_strange_result_or_item_is_no_failure(store):
    with store.start_run("first") as run:
        run.step("load", Refusing)
        run.map("each", [Refusing()], lambda item: 1, executor=work.threads())
        run.step("take", lambda item: 1, Refusing())
    assert store.get_run_log("first").status == "SUCCESS"


def test_a_function_that_is_called_deep_down_has_its_identity():
    def at_depth(left):
        return function_identity(holding) if not left else at_depth(left - 1)

    assert at_depth(700) == function_identity(holding)


@pytest.mark.thorough
def test_a_function_that_was_sent_by_its_code_has_the_identity_that_it_had():
    @dataclasses.dataclass
    class Point:
        x: int = 1

    def made(item):
        return Point(item), TABLE, RATE

    with loky.ProcessPoolExecutor(1) as pool:
        assert pool.submit(function_identity, made).result() == function_identity(made)


class Registry:
    found: ClassVar[dict] = {}

    @classmethod
    def add(cls, function):
        cls.found[function.__name__] = function

    @classmethod
    def count(cls, item):
        cls.found[item] = item


def asking():
    return Registry.found


def test_what_is_registered_in_a_living_process_counts_and_what_is_cached_does_not(monkeypatch):
    monkeypatch.setattr(Registry, "found", {})
    before = function_identity(asking)
    Registry.count(1)
    assert function_identity(asking) == before
    Registry.add(reading)
    assert function_identity(asking) != before


@pytest.mark.parametrize(
    ("source", "draw"),
    [(random.Random(1), "random"), (np.random.default_rng(1), "random"), (itertools.count(), "__next__")],
)
def test_what_was_drawn_from_a_source_of_numbers_is_no_part_of_the_code(source, draw):
    def drawing():
        return getattr(source, draw)()

    before = function_identity(drawing)
    drawing()
    assert function_identity(drawing) == before


def asking_lazily():
    return chunkstore.current_run().run_id, np.linalg.norm, xmlrpc.client.loads


def test_what_a_library_loads_only_when_it_is_used_does_not_change_an_identity(monkeypatch):
    before = function_identity(asking_lazily)
    # As in a process where nobody has asked for them.
    for module, name in ((chunkstore, "current_run"), (np, "linalg"), (xmlrpc, "client")):
        monkeypatch.delitem(vars(module), name, raising=False)
        assert function_identity(asking_lazily) == before, name

"""Which code ran: the git commit and the function."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chunkstore.recording.identity import function_identity, git_identity
from chunkstore.recording.identity import git as identity_module
from chunkstore.recording.identity.git import without_credentials
from recording import work


def git(*arguments):
    """Run git in the working folder, without the configuration of whoever runs the tests."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    result = subprocess.run(["git", *arguments], check=True, capture_output=True, env=environment)
    return result.stdout.decode().strip()


@pytest.fixture
def repository():
    """A repository with one commit, checked out in the working folder."""
    git("init", "-q")
    Path("code.py").write_text("one")
    git("add", "code.py")
    git("commit", "-q", "-m", "first")
    git("remote", "add", "origin", "https://user:secret@example.org/project.git?token=x")
    return Path.cwd()


def fresh():
    git_identity.cache_clear()
    return git_identity()


def test_the_commit_of_the_working_folder_is_recorded_with_every_step(repository, store):
    with store.start_run("run") as run:
        run.step("load", work.two)
        with run.step("block"):
            pass
        run.map("score", [1], work.double)
    steps = store.get_run_log("run").steps
    inner = steps["score"].branches["score.1"].steps["score.1.double"]
    for step in (*steps.values(), inner):
        commit = step.code_identities[0]
        assert commit.code_identifier == git("rev-parse", "HEAD")
        assert (commit.code_identifier_type, commit.code_identifier_dependable) == ("git", True)
        assert commit.code_identifier_url == "https://example.org/project.git"
    assert [len(step.code_identities) for step in (*steps.values(), inner)] == [2, 1, 2, 2]


def test_changes_that_were_not_committed_are_told_apart(repository):
    clean = fresh()
    identities = []
    for text in ("two", "three", "two"):
        Path("code.py").write_text(text)
        identities.append(fresh())
    assert [found.code_identifier_dependable for found in (clean, *identities)] == [True, False, False, False]
    assert clean.code_identifier_message == ""
    messages = [found.code_identifier_message for found in identities]
    assert messages[0] == messages[2] != messages[1]
    assert {found.code_identifier for found in identities} == {clean.code_identifier}


def test_files_that_git_does_not_know_make_nothing_dirty(repository):
    Path("results.csv").write_text("1")
    assert fresh().code_identifier_dependable


def test_a_repository_without_a_remote_has_no_url(repository):
    git("remote", "remove", "origin")
    assert fresh().code_identifier_url == ""


def test_a_repository_without_a_commit_is_no_error(store):
    git("init", "-q")
    assert fresh() is None


def test_no_repository_is_no_error(store):
    assert git_identity() is None
    with store.start_run("run") as run, run.step("load"):
        pass
    step = store.get_step_log("run", "load")
    assert (step.status, step.code_identities) == ("SUCCESS", [])


@pytest.mark.parametrize("program", ["exit 1", "sleep 60"])
def test_a_git_that_fails_or_hangs_is_no_error(monkeypatch, program, tmp_path):
    (tmp_path / "git").write_text(f"#!/bin/sh\nexec {program}\n" if "sleep" in program else f"#!/bin/sh\n{program}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setattr(identity_module, "_GIT_TIMEOUT", 0.2)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert git_identity() is None


def test_no_git_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_identity() is None


def test_git_is_asked_once_per_process(repository, store, monkeypatch):
    asked = []
    original = subprocess.run

    def counted(command, **options):
        asked.append(command)
        return original(command, **options)

    git_identity.cache_clear()
    monkeypatch.setattr(identity_module.subprocess, "run", counted)
    with store.start_run() as run:
        run.step("load", work.two)
    first = len(asked)
    with store.start_run() as run:
        run.map("score", [1, 2], work.double, executor=work.threads())
    assert len(asked) == first > 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a.git", "https://example.org/a.git"),
        ("https://user:secret@example.org/a.git", "https://example.org/a.git"),
        ("https://secret@example.org:8443/a.git", "https://example.org:8443/a.git"),
        ("https://us@er:se@cret@example.org/a.git", "https://example.org/a.git"),
        ("https://example.org/a.git?token=secret#secret", "https://example.org/a.git"),
        ("ssh://git:secret@example.org:22/a.git", "ssh://example.org:22/a.git"),
        ("git@example.org:group/a.git", "example.org:group/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("", ""),
    ],
)
def test_a_remote_is_recorded_without_what_may_be_secret(url, expected):
    assert without_credentials(url) == expected


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

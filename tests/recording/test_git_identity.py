"""Which commit ran, and what had changed since: whatever git is told to show, and without running anything else."""

import logging
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from repositories import git

from chunkstore.recording.identity import git as git_module
from chunkstore.recording.identity import git_commands, git_identity, same_code
from recording import work


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


def test_a_repository_without_a_commit_is_no_error(store, caplog):
    git("init", "-q")
    assert fresh() is None
    assert not caplog.records


def test_a_folder_called_as_the_one_of_git_is_no_repository(repository):
    Path("inner/.git").mkdir(parents=True)
    os.chdir("inner")
    assert fresh().code_identifier == git("rev-parse", "HEAD")


def test_no_repository_is_no_error(store):
    assert git_identity() is None
    with store.start_run("run") as run, run.step("load"):
        pass
    step = store.get_step_log("run", "load")
    assert (step.status, step.code_identities) == ("SUCCESS", [])


@pytest.mark.parametrize("program", ["exit 1", "exec sleep 60"])
def test_a_git_that_fails_or_hangs_is_no_error(repository, monkeypatch, program, tmp_path, caplog):
    executable(tmp_path / "git", program)
    monkeypatch.setattr(git_commands, "_TIMEOUT", 0.2)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    begun = time.monotonic()
    assert [fresh(), git_identity(), git_identity()] == [None] * 3
    assert time.monotonic() - begun < 10  # a minute, if it were waited for
    assert ("did not answer" in caplog.text) == ("sleep" in program)


def test_no_git_is_no_error_and_it_is_said(repository, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [git_identity(), git_identity()] == [None, None]
    assert caplog.text.count(f"The commit of {repository} is not recorded, as git does not tell: ") == 1


def executable(path, program):
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def asked(monkeypatch):
    """What git was asked."""
    commands = []
    original = subprocess.run

    def counted(command, **options):
        commands.append(command)
        return original(command, **options)

    monkeypatch.setattr(git_commands.subprocess, "run", counted)
    return commands


def test_git_is_asked_again_only_if_a_file_has_changed(repository, store, monkeypatch, asked):
    monkeypatch.setattr(git_module, "_SETTLED", -(10**12))  # as if all files had been left alone for a while
    with store.start_run() as run:
        run.step("load", work.two)
    first = len(asked)
    with store.start_run() as run:
        run.map("score", [1, 2], work.double, executor=work.threads())
    assert len(asked) == first > 0
    Path("code.py").write_text("two")
    assert not git_identity().code_identifier_dependable
    assert len(asked) > first


def test_files_that_have_just_changed_may_change_again_unseen(repository, asked):
    git_identity()
    first = len(asked)
    git_identity()
    assert len(asked) == 2 * first


def changes_of(*texts):
    """Return what is recorded for each text of a file that is not committed."""
    found = []
    for text in texts:
        Path("code.py").write_text(text)
        found.append(git_identity())
    return found


# --- one process that lives on ---------------------------------------------------------------------------------------


def test_a_commit_in_a_living_process_is_the_one_of_the_next_run(repository, store, monkeypatch):
    monkeypatch.setattr(git_module, "_SETTLED", -(10**12))
    recorded = []
    for text in ("two", "three"):
        with store.start_run(text) as run, run.step("load"):
            pass
        recorded.append(store.get_step_log(text, "load").code_identities[0].code_identifier)
        assert recorded[-1] == git("rev-parse", "HEAD")
        Path("code.py").write_text(text)
        git("commit", "-qam", text)
    assert recorded[0] != recorded[1]


def test_another_branch_that_is_checked_out_is_noticed(repository, monkeypatch):
    monkeypatch.setattr(git_module, "_SETTLED", -(10**12))
    first = git_identity()
    git("commit", "-q", "--allow-empty", "-m", "second")
    second = git_identity()
    git("pack-refs", "--all")
    git("checkout", "-q", "--detach", "HEAD~1")
    assert git_identity().code_identifier == first.code_identifier != second.code_identifier


# --- what the user has set -------------------------------------------------------------------------------------------


SETTINGS = {
    "diff.external": "{tool}",
    "diff.relative": "true",
    "diff.noprefix": "true",
    "diff.ignoreSubmodules": "all",
    "diff.x.textconv": "{tool}",
    "diff.x.command": "{tool}",
    "filter.x.clean": "{tool}",
    "filter.x.process": "{tool}",
    "core.fsmonitor": "{tool}",
    "core.hooksPath": "{hooks}",
    "core.pager": "{tool}",
    "core.attributesFile": "{attributes}",
    "core.autocrlf": "true",
    "core.checkStat": "minimal",
    "color.ui": "always",
    "status.showUntrackedFiles": "no",
    "core.quotePath": "false",
    "core.bare": "true",
    "core.worktree": "{hooks}",
}


@pytest.fixture
def values(tmp_path):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    tool = executable(tmp_path / "tool", f"touch {tmp_path}/ran; exit 0")
    for name in ("post-index-change", "post-checkout", "fsmonitor-watchman"):
        executable(hooks / name, f"touch {tmp_path}/ran")
    (tmp_path / "attributes").write_text("* diff=x filter=x text=auto\n")
    yield {"tool": tool, "hooks": hooks, "attributes": tmp_path / "attributes"}
    assert not (tmp_path / "ran").exists(), "a program of the user's was run"


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_hides_a_change_and_no_program_of_the_user_is_run(repository, values, name):
    plain = changes_of("two", "three")
    git("config", name, SETTINGS[name].format(**values))
    git("config", "core.attributesFile", values["attributes"])
    Path("sub").mkdir()
    for folder in (".", "sub"):
        os.chdir(folder)
        top = Path("code.py") if folder == "." else Path("../code.py")
        found = []
        for text in ("two", "three"):
            top.write_text(text)
            found.append(git_identity())
        assert found == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_EXTERNAL_DIFF", "{tool}"),
        ("GIT_DIR", "/nowhere"),
        ("GIT_WORK_TREE", "/"),
        ("GIT_INDEX_FILE", "/nowhere"),
        ("GIT_PAGER", "{tool}"),
        ("GIT_OBJECT_DIRECTORY", "/nowhere"),
        ("GIT_NAMESPACE", "x"),
        ("GIT_TRACE", "1"),
        ("GIT_CONFIG_PARAMETERS", "'diff.external={tool}'"),
    ],
)
def test_the_environment_of_a_hook_decides_nothing(repository, values, monkeypatch, name, value):
    plain = changes_of("two", "three")
    monkeypatch.setenv(name, value.format(**values))
    assert changes_of("two", "three") == plain


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_files_that_git_is_told_not_to_look_at_are_looked_at(repository, flag):
    git("update-index", flag, "code.py")
    assert git_identity().code_identifier_dependable
    one, other = changes_of("two", "three")
    assert not one.code_identifier_dependable
    assert not same_code([one], [other])
    Path("code.py").unlink()
    assert git_identity().code_identifier_dependable == (
        flag == "--skip-worktree"
    )  # a sparse checkout leaves files out


def test_what_only_looks_changed_is_not(repository):
    os.utime("code.py", (1, 1))
    assert git_identity().code_identifier_dependable
    Path("lines.txt").write_bytes(b"a\nb\n")
    git("add", "lines.txt")
    git("commit", "-qm", "lines")
    Path("lines.txt").write_bytes(b"a\r\nb\r\n")
    assert git_identity().code_identifier_dependable


def test_what_is_staged_deleted_or_became_another_kind_of_file_is_a_change(repository):
    found = [git_identity()]
    Path("new.py").write_text("new")
    git("add", "new.py")
    found.append(git_identity())
    Path("code.py").unlink()
    found.append(git_identity())
    Path("code.py").symlink_to("new.py")
    found.append(git_identity())
    Path("code.py").unlink()
    os.mkfifo("code.py")  # reading it would take for ever
    found.append(git_identity())
    assert [one.code_identifier_dependable for one in found] == [True] + [False] * 4
    assert len({one.code_identifier_message for one in found}) == 5


# --- unusual repositories --------------------------------------------------------------------------------------------


def test_worktrees_shallow_and_bare_repositories_have_a_commit(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(git_module, "_SETTLED", -(10**12))
    commit = git("rev-parse", "HEAD")
    git("worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    git("clone", "-q", "--depth", "1", f"file://{repository}", str(tmp_path / "shallow"))
    git("clone", "-q", "--bare", str(repository), str(tmp_path / "bare.git"))
    for name in ("tree", "shallow", "bare.git"):
        os.chdir(tmp_path / name)
        found = git_identity()
        assert found.code_identifier == commit
        assert found.code_identifier_dependable == (name != "bare.git")
    os.chdir(tmp_path / "tree")
    one, other = changes_of("two", "three")
    assert one != other
    git("commit", "-qam", "in the tree")
    assert git_identity().code_identifier == git("rev-parse", "HEAD") != commit


def test_changes_that_git_does_not_tell_are_equal_to_none(repository, monkeypatch):
    index = Path(".git/index")
    index.write_bytes(b"no index")
    one, other = git_identity(), git_identity()
    assert one.code_identifier == git("rev-parse", "HEAD")
    assert "unknown" in one.code_identifier_message
    assert not same_code([one], [other])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_repository_of_another_owner_is_recorded_and_it_is_said_what_to_do(repository, values, caplog):
    git("config", "core.fsmonitor", values["tool"])
    commit = git("rev-parse", "HEAD")
    for path in (repository, repository / ".git"):
        os.chown(path, 12345, 12345)
    with caplog.at_level(logging.WARNING):
        found = [git_identity(), git_identity()]
    assert found[0] == found[1]
    assert (found[0].code_identifier, found[0].code_identifier_dependable) == (commit, False)
    assert found[0].code_identifier_url == "https://example.org/project.git"
    (record,) = caplog.records
    assert f"git config --global --add safe.directory {repository}" in record.getMessage()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_modules_of_a_repository_of_another_owner_count_as_they_are(repository, monkeypatch):
    for path in (repository, repository / ".git"):
        os.chown(path, 12345, 12345)
    module = types.ModuleType("code_of_another")
    module.__file__ = str(repository / "code.py")
    monkeypatch.setitem(sys.modules, "code_of_another", module)
    before = git_identity()
    Path("code.py").write_text("two")
    assert not same_code([before], [git_identity()])


def test_a_working_folder_that_is_gone_is_no_error(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert git_identity() is None


def test_a_worker_with_another_working_folder_records_the_commit_of_the_run(repository, store, tmp_path):
    def elsewhere(item):
        os.chdir(tmp_path)
        return item

    with store.start_run("run") as run:
        run.map("score", [1], elsewhere, executor=work.threads())
    branch = store.get_run_log("run").steps["score"].branches["score.1"]
    os.chdir(repository)
    assert branch.steps["score.1.elsewhere"].code_identities[0].code_identifier == git("rev-parse", "HEAD")

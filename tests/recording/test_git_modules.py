"""Which code beside that of the working folder's own files belongs to its commit: submodules and imported modules."""

import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from repositories import git

from chunkstore.recording.identity import git_identity


def test_a_submodule_that_changed_counts_with_its_contents(repository, tmp_path):
    inner = tmp_path / "inner"
    shutil.copytree(repository, inner)
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "lib")
    git("commit", "-qm", "with a submodule")
    git("config", "submodule.lib.ignore", "all")
    assert git_identity().code_identifier_dependable
    found = []
    for text in ("two", "three", "two"):
        Path("lib/code.py").write_text(text)
        found.append(git_identity())
    assert found[0] == found[2] != found[1]
    git("-C", "lib", "commit", "-qam", "moved on")
    moved = git_identity()
    assert not moved.code_identifier_dependable
    assert moved not in found
    shutil.rmtree("lib")
    Path("lib").mkdir()
    assert git_identity().code_identifier_dependable  # it is not checked out


@pytest.mark.parametrize("how", ["untracked", "ignored", "linked", "linked from outside", "linked folder"])
def test_an_imported_module_that_git_does_not_know_counts(repository, tmp_path, monkeypatch, how):
    place = Path("helper.py").absolute()
    if how == "ignored":
        Path(".gitignore").write_text("helper.py\n")
        git("add", ".gitignore")
        git("commit", "-qm", "ignore")
    file = place
    if how == "linked":
        file = tmp_path / "elsewhere.py"
        place.symlink_to(file)
    elif how == "linked from outside":
        (tmp_path / "link.py").symlink_to(place)
    elif how == "linked folder":
        (tmp_path / "outside").mkdir()
        (repository / "inside").symlink_to(tmp_path / "outside")
        place, file = repository / "inside" / "helper.py", tmp_path / "outside" / "helper.py"
    module = types.ModuleType("helper_of_a_test")
    module.__file__ = str(tmp_path / "link.py" if how == "linked from outside" else place)
    found = [git_identity()]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for text in ("one", "two", "one"):
        file.write_text(text)
        found.append(git_identity())
    assert found[0].code_identifier_dependable
    assert found[1] == found[3] != found[2]
    assert not found[1].code_identifier_dependable


def test_installed_packages_inside_a_repository_are_no_code_of_its_own(repository, monkeypatch):
    module = types.ModuleType("package_of_a_test")
    folder = repository / ".venv/lib/python3/site-packages"
    folder.mkdir(parents=True)
    module.__file__ = str(folder / "package_of_a_test.py")
    Path(module.__file__).write_text("one")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert git_identity().code_identifier_dependable


def test_the_script_that_an_installed_package_was_started_by_is_no_code_of_the_repository_it_lies_in(repository):
    """As `.venv/bin/pipeline` is the main module of a process."""
    python = repository / ".venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", repository / ".venv"], check=True)
    script = python.with_name("pipeline")
    script.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from chunkstore.recording.identity.git import git_identity\n"
        "print(git_identity().code_identifier_dependable)\n"
    )
    (repository / ".git/info/exclude").write_text(".venv\n")
    found = subprocess.run([python, script], cwd=repository, capture_output=True, text=True, check=True)
    assert found.stdout == "True\n"

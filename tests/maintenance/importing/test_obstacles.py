"""Nothing that is odd in a folder, in a file or in a field stands in the way of the rest."""

import copy
import os
import shutil
import socket

import pytest

import chunkstore
from chunkstore.errors import ConfigurationError
from chunkstore.maintenance.importing import ImportProblem, import_runs
from maintenance.importing.targets import PERSISTENT, import_all, one_of_each, open_target, write_text
from maintenance.layouts import (
    RUN,
    UNKNOWN,
    assert_nothing_is_lost,
    assert_same,
    attempt,
    branch,
    rich_run,
    run,
    snapshot,
    step,
    write_document,
    write_folder_of_2024,
    write_folder_of_2025,
    write_json,
    write_own_folder,
)

FIRST, LAST = "0-first", "z-last"


def write_chunk(name, text):
    def write(folder):
        write_folder_of_2025(folder, run("odd", step("kept", 1)))
        write_text(f"odd/{name}", text)(folder)

    return write


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # paths of sockets are short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def in_odd_folder(make):
    def write(folder):
        write_folder_of_2025(folder, run("odd", step("kept", 1)))
        make(folder / "odd")

    return write


def deep_run(levels):
    return '{"run_id": "odd", "steps": {"s": ' + deep_step(levels) + "}}"


def deep_step(levels):
    """Return JSON of steps in branches in steps; Python's `json` would refuse to write it."""
    text, name = "", "s"
    for level in range(levels):
        text += f'"{name}": ' if level else ""
        text += f'{{"name": "s", "internal_name": "{name}", "branches": {{"{name}.b": {{'
        text += f'"internal_name": "{name}.b", "steps": {{'
        name += ".b.s"
    return text + "}}}}" * levels


PERHAPS = object()
#: What may lie beside runs, and the file of which the report must speak; none where it is nothing like a run, and
#: perhaps none where nobody can tell.
OBSTACLES = {
    "empty file": (write_text("odd.json", ""), "odd.json"),
    "blank file": (write_text("odd.json", " \n"), "odd.json"),
    "zeros": (write_text("odd.json", b"\0" * 4096), "odd.json"),
    "cut off": (write_text("odd.json", '{"run_id": "odd", "sta'), "odd.json"),
    "no utf-8": (write_text("odd.json", b'{"run_id": "odd", "tag": "\xff"}'), "odd.json"),
    "two values": (write_text("odd.json", '{"run_id": "odd"}{}'), "odd.json"),
    "list": (write_text("odd.json", "[]"), "odd.json"),
    "null": (write_text("odd.json", "null"), "odd.json"),
    "number": (write_text("odd.json", "NaN"), "odd.json"),
    "other document": (write_text("odd.json", '{"name": "x", "version": "1.0.0"}'), "odd.json"),
    "other run": (write_text("odd.json", '{"run_id": "even"}'), "odd.json"),
    "own run under another name": (
        write_text("odd.json", '{"run_id": "even", "run_config": {"chunkstore": {}}}'),
        "odd.json",
    ),
    "configuration is a number": (write_text("odd.json", '{"run_id": "odd", "run_config": 5}'), "odd.json"),
    "configuration is true": (write_text("odd.json", '{"run_id": "odd", "run_config": true}'), "odd.json"),
    "configuration is a text": (write_text("odd.json", '{"run_id": "odd", "run_config": "chunkstore"}'), "odd.json"),
    "configuration is a list": (write_text("odd.json", '{"run_id": "odd", "run_config": ["chunkstore"]}'), "odd.json"),
    "configuration of a folder": (
        in_odd_folder(lambda odd: write_json(odd / "RunLog.json", {"run_id": "odd", "run_config": 5})),
        "odd/RunLog.json",
    ),
    "brackets": (write_text("odd.json", "[" * 1_000_000), "odd.json"),
    "objects": (write_text("odd.json", '{"a":' * 100_000), "odd.json"),
    "nested 200 deep": (write_text("odd.json", deep_run(200)), PERHAPS),  # a newer Python reads that
    "nested 240 deep": (write_text("odd.json", deep_run(240)), "odd.json"),
    "nested 400 deep": (write_text("odd.json", deep_run(400)), "odd.json"),
    "deep value": (write_text("odd.json", f'{{"run_id": "odd", "parameters": {{"a": {"[" * 200}{"]" * 200}}}}}'), ""),
    "deep unknown field": (write_text("odd.json", f'{{"run_id": "odd", "tags": {"[" * 900}{"]" * 900}}}'), ""),
    "long integer": (write_text("odd.json", '{"run_id": "odd", "tags": %s}' % ("9" * 5000)), "odd.json"),
    "half a surrogate pair": (write_text("odd.json", '{"run_id": "odd", "tag": "\\ud800"}'), ""),
    "newer format": (write_text("odd.json", '{"run_id": "odd", "run_config": {"chunkstore": {"format": 99}}}'), ""),
    "run id with a colon": (write_text("a:b.json", '{"run_id": "a:b"}'), ""),
    "run id with a line break": (write_text("a\nb.json", '{"run_id": "a\\nb"}'), ""),
    "run id that is not ASCII": (write_text("\u6a21.json", '{"run_id": "\u6a21"}'), ""),
    "run id that is no text": (
        lambda folder: open(os.fsencode(folder) + b"/\xff.json", "wb").close(),
        "",
    ),
    "run id that ends in a dot": (write_text("a..json", '{"run_id": "a."}'), ""),
    "long run id": (write_text(f"{'a' * 201}.json", '{"run_id": "%s"}' % ("a" * 201)), ""),
    "no name but a suffix": (write_text(".json", '{"run_id": ""}'), None),
    "hidden file": (write_text(".odd.json", "{"), None),
    "lock": (write_text(".odd.lock", ""), None),
    "other file": (write_text("odd.txt", "{"), None),
    "other folder": (lambda folder: (folder / "odd").mkdir(), None),
    "other folder with files": (
        lambda folder: ((folder / "odd").mkdir(), write_text("odd/package.json", "{}")(folder)),
        None,
    ),
    "hidden folder": (lambda folder: (folder / ".tmp-1").mkdir(), None),
    "folder with a suffix": (lambda folder: (folder / "odd.json").mkdir(), None),
    "pipe": (lambda folder: os.mkfifo(folder / "odd"), PERHAPS),
    "pipe with a suffix": (lambda folder: os.mkfifo(folder / "odd.json"), "odd.json"),
    "socket": (lambda folder: make_socket(folder / "odd"), PERHAPS),
    "link to a file": (lambda folder: os.symlink(folder / f"{FIRST}.json", folder / "odd.json"), "odd.json"),
    "link to a folder": (lambda folder: os.symlink("/", folder / "odd"), PERHAPS),
    "link to a run": (lambda folder: os.symlink(folder / LAST, folder / "odd"), "odd"),
    "link to itself": (lambda folder: os.symlink("odd.json", folder / "odd.json"), "odd.json"),
    "link to nothing": (lambda folder: os.symlink("nowhere", folder / "odd"), PERHAPS),
    "record: empty": (write_chunk("StepLog-s-1706852981689005000.json", ""), "odd/StepLog-s-1706852981689005000.json"),
    "record: cut off": (write_chunk("BranchLog-a.b.json", '{"internal'), "odd/BranchLog-a.b.json"),
    "record: no utf-8": (write_chunk("BranchLog-a.b.json", b'{"internal_name": "\xff"}'), "odd/BranchLog-a.b.json"),
    "record: list": (write_chunk("BranchLog-a.b.json", "[]"), "odd/BranchLog-a.b.json"),
    "record: no name": (write_chunk("StepLog-s-1.json", '{"name": "s"}'), "odd/StepLog-s-1.json"),
    "record: empty name": (
        write_chunk("StepLog-s-1.json", '{"name": "", "internal_name": ""}'),
        "odd/StepLog-s-1.json",
    ),
    "record: brackets": (write_chunk("StepLog-s-1.json", "[" * 100_000), "odd/StepLog-s-1.json"),
    "record: nested 200 deep": (write_chunk("StepLog-s-1.json", deep_step(200)), PERHAPS),
    "record: deep value": (
        write_chunk("StepLog-s-1.json", f'{{"name": "s", "internal_name": "s", "odd": {"[" * 200}{"]" * 200}}}'),
        "odd/StepLog-s-1.json",
    ),
    "record: half a surrogate pair": (
        write_chunk("StepLog-s-1.json", '{"name": "s", "internal_name": "s", "message": "\\ud800"}'),
        "odd/StepLog-s-1.json",
    ),
    "record: link": (
        in_odd_folder(lambda odd: os.symlink("RunLog.json", odd / "StepLog-s-1.json")),
        "odd/StepLog-s-1.json",
    ),
    "record: pipe": (in_odd_folder(lambda odd: os.mkfifo(odd / "BranchLog-a.b.json")), "odd/BranchLog-a.b.json"),
    "record: folder": (in_odd_folder(lambda odd: (odd / "BranchLog-a.b.json").mkdir()), "odd/BranchLog-a.b.json"),
    "record: file name that is no text": (
        in_odd_folder(lambda odd: open(os.fsencode(odd) + b"/StepLog-\xff-1.json", "wb").close()),
        "odd/StepLog-",
    ),
    "parameter: list": (write_chunk("Parameter-a.json", "[1]"), "odd/Parameter-a.json"),
    "parameter: empty": (write_chunk("Parameter-a.json", ""), "odd/Parameter-a.json"),
    "parameter: pipe": (in_odd_folder(lambda odd: os.mkfifo(odd / "Parameter-a.json")), "odd/Parameter-a.json"),
}


@pytest.mark.parametrize(("write", "file"), OBSTACLES.values(), ids=list(OBSTACLES))
def test_what_cannot_be_read_is_reported_and_hides_nothing(write, file, source, chunked):
    write_document(source, run(FIRST, step("s", 1)))
    write_folder_of_2024(source, run(LAST, step("s", 1)))
    write(source)
    before = snapshot(source)
    report = import_runs(str(source), chunked)
    for run_id in (FIRST, LAST):
        assert run_id in report.imported
        assert_nothing_is_lost(chunked, run(run_id, step("s", 1)))
    if file is None:
        assert (len(report.imported), report.problems) == (2, [])
    elif file is PERHAPS:
        assert {problem.run_id for problem in report.problems} <= {"odd"}
    else:
        (problem,) = report.problems
        assert problem.file.startswith(file)
        assert len(problem.message) > 10
        assert f"{problem.run_id} {problem.file} {problem.message}".encode(), "it can be shown"
    if isinstance(file, str) and file.startswith(("odd/Step", "odd/Branch", "odd/Parameter")):
        assert report.imported == [FIRST, "odd", LAST]
        assert list(chunked.get_run_log("odd").steps) == ["kept"]
    assert snapshot(source) == before


@pytest.mark.parametrize("levels", range(40, 260, 20))
def test_a_run_nested_however_deep_is_imported_or_reported(levels, source):
    store = chunkstore.open_store("buffered")
    write_text("odd.json", deep_run(levels))(source)
    report = import_runs(str(source), store)
    if report.problems:
        (problem,) = report.problems
        assert (problem.run_id, report.imported) == ("odd", [])
        assert levels > 50
    else:
        assert report.imported == ["odd"]


def test_a_record_of_the_run_that_is_missing_is_reported_and_the_rest_is_kept(source, store):
    write_folder_of_2024(source, rich_run())
    (source / RUN / "RunLog.json").unlink()
    report = import_runs(str(source), store)
    assert (report.imported, report.problems) == ([RUN], [ImportProblem(RUN, f"{RUN}/RunLog.json", "it is missing")])
    assert_same(rich_run()["steps"], store.get_run_log(RUN).to_dict()["steps"])


def test_a_folder_of_another_run_is_reported(source, store):
    write_folder_of_2025(source, rich_run())
    (source / RUN).rename(source / "renamed")
    report = import_runs(str(source), store)
    assert report.problems[0].file == "renamed/RunLog.json"
    assert RUN in report.problems[0].message


def test_records_without_a_place_are_kept_and_shown(source, store):
    write_folder_of_2024(source, run(RUN, step("p", 1, branches=[branch("p.a", step("p.a.s", 2, **UNKNOWN))])))
    for file in (source / RUN).glob("BranchLog-*"):
        file.unlink()
    import_runs(str(source), store)
    log = store.get_run_log(RUN)
    assert [problem.kind for problem in log.problems] == ["orphan"]
    assert log.orphans.steps["p.a.s"].extra == UNKNOWN


@pytest.mark.parametrize("store_type", PERSISTENT)
def test_what_was_mended_is_imported_the_next_time(store_type, source, tmp_path):
    store = open_target(store_type, tmp_path / "target")
    write_text(f"{RUN}.json", '{"run_id":')(source)
    assert import_runs(str(source), store).imported == []
    write_document(source, rich_run())
    assert import_all(source, store).imported == [RUN]
    assert_nothing_is_lost(store, rich_run())


def test_a_run_of_which_nothing_can_be_read_is_not_recorded_so_that_it_can_be_mended(source, store):
    write_folder_of_2025(source, run(RUN, step("s", 1)))
    write_text(f"{RUN}/RunLog.json", '{"run_id":')(source)
    assert len(import_runs(str(source), store).problems) == 1
    write_json(source / RUN / "RunLog.json", run(RUN, step("s", 1)))
    assert import_all(source, store).imported == [RUN]


@pytest.mark.parametrize("write", [write_document, write_folder_of_2024, write_own_folder])
def test_a_run_that_is_removed_meanwhile_hides_nothing(write, source, store):
    for run_id in (FIRST, RUN, LAST):
        write(source, run(run_id, step("s", 1)))

    def remove(run_id, *_):
        for path in source.iterdir():
            if run_id == RUN and path.stem == RUN:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    report = import_runs(str(source), store, progress=remove)
    assert report.imported == [FIRST, LAST]
    assert [problem.run_id for problem in report.problems] == [RUN]


def test_a_run_that_stands_there_in_two_layouts_is_not_passed_over_in_silence(source, store):
    write_folder_of_2024(source, run(RUN, tag="of the folder"))
    write_document(source, run(RUN, tag="of the document"))
    report = import_runs(str(source), store)
    assert report.imported == [RUN]
    assert [problem.file for problem in report.problems] == [f"{RUN}.json"]


def test_a_run_that_cannot_be_recorded_hides_nothing(source, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / RUN).write_text("no folder")
    for run_id in (FIRST, RUN, LAST):
        write_document(source, run(run_id))
    report = import_runs(str(source), open_target("chunked-fs", tmp_path / "target"))
    assert report.imported == [FIRST, LAST]
    assert [(problem.run_id, problem.file) for problem in report.problems] == [(RUN, f"{RUN}.json")]


ODD_VALUES = [None, True, 5, "x", [], {}, [5], {"x": 5}]


def paths_of(value, path=()):
    """Yield the way to everything inside a JSON value; not to names, which decide where a record belongs."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        if key not in ("internal_name", "name", "run_id"):
            yield (*path, key)
        yield from paths_of(inner, (*path, key))


def test_whatever_a_field_holds_the_run_is_imported_without_loss_or_reported(tmp_path):
    identity = {"code_identifier": "a", "odd": 1}
    tried = attempt(1, code_identities=[identity], user_defined_metrics={"a": 1})
    task = step("p.a.s", 2, attempts=[tried], data_catalog=[{"name": "d"}], code_identities=[identity])
    content = run(RUN, step("p", 1, branches=[branch("p.a", task)]), job={"attempts": []}, run_config={"a": 1}, odd={})
    store = chunkstore.open_store("buffered")
    outcomes = set()
    for number, path in enumerate(paths_of(content)):
        for index, value in enumerate(ODD_VALUES):
            folder = tmp_path / f"{number}-{index}"
            folder.mkdir()
            odd = {**copy.deepcopy(content), "run_id": folder.name}
            target = odd
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = value
            write_document(folder, odd)
            report = import_runs(str(folder), store)
            outcomes.add(bool(report.imported))
            if report.imported:
                assert_nothing_is_lost(store, odd)
            else:
                assert [problem.file for problem in report.problems] == [f"{folder.name}.json"], path
    assert outcomes == {True, False}


def test_a_folder_that_does_not_exist_is_said_to_be_none(tmp_path, store):
    with pytest.raises(ConfigurationError, match="no such folder") as raised:
        import_runs(str(tmp_path / "nowhere"), store)
    assert (raised.value.key, raised.value.file) == ("source", str(tmp_path / "nowhere"))


def test_a_file_is_no_folder(tmp_path, store):
    (tmp_path / "file.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="folder"):
        import_runs(str(tmp_path / "file.json"), store)


def test_an_empty_folder_holds_no_runs(source, store, tmp_path):
    report = import_all(source, store)
    assert (report.imported, report.present) == ([], [])
    assert not (tmp_path / "target").exists()


def test_the_source_may_be_a_link_to_a_folder_and_relative(source, store, tmp_path, monkeypatch):
    runs = one_of_each(source)
    (tmp_path / "link").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    assert sorted(import_all("link", store).imported) == [content["run_id"] for content in runs]
    for content in runs:
        assert_nothing_is_lost(store, content)

"""Names, values and messages of any kind: shown as their author wrote them, and nothing in them is obeyed."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

import chunkstore as library
from cli.command import chunkstore, on_terminal

#: Names, and how they are shown.
SHOWN = {
    "a.csv": "a.csv",
    "[bold]x[/]": "[bold]x[/]",
    "[/in]": "[/in]",
    "new\nline": "new\\nline",
    "esc\x1b[31m": "esc\\x1b[31m",
    "🎉": "🎉",
    "\u202ertl": "\\u202ertl",
    "x" * 300: "x" * 300,
    "100%": "100%",
    "a%2Eb": "a%2Eb",
    "-x": "-x",
}
NAN = float("nan")
#: What a terminal may be told by the command line itself.
OWN_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
VIEWS = [
    ["show", "one"],
    ["show", "one", "--params"],
    ["show", "one", "--metrics"],
    ["show", "one", "--step", "a.csv"],
    ["show", "one", "--step", "boom"],
    ["show", "one", "--step", "count"],
    ["timeline", "one"],
    ["diff", "one", "two"],
    ["diff", "one", "two", "--all"],
    ["watch", "one"],
    ["ls"],
    ["why", "count", "--run", "one", "--all"],
    ["verify"],
    ["gc", "--dry-run", "--keep-last", "0"],
]


def record(store, run_id, seed):
    def work(item):
        library.current_step().log_metric("loss", [NAN, seed])
        library.current_step().log_params({"p": {"deep": [NAN]}})

    with store.start_run(run_id, tag="t\x1b[31m[b]", parameters={"list": [NAN, seed], "esc": "\x1b[31m"}) as run:
        for name in SHOWN:
            with run.step(name) as step:
                print(f"printed by {name}")
                step.log_metric("m\x1b[1m[b]", [NAN])
                step.set_result([NAN, seed])
        run.map("count", [*SHOWN, {"lr": 0.1}, [NAN]], work, executor=ThreadPoolExecutor(2))
        with run.step("boom", on_error="continue"):
            raise ValueError(f"[red]bad\x1b[31m {'y' * 5_000}\nmore of {seed}")


@pytest.fixture
def logs(tmp_path):
    store = library.open_store("chunked-fs", log_folder=str(tmp_path / "logs"))
    record(store, "one", 1)
    record(store, "two", 2)
    return tmp_path / "logs"


@pytest.mark.parametrize("view", VIEWS, ids=" ".join)
def test_names_are_shown_as_they_were_written(logs, view):
    result = chunkstore(*view, "--store", logs)
    assert result.code in {0, 1}
    shown = result.out + result.err
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "$float" not in shown
    assert not re.search(r"%(25|2E)(?!b|csv\.execution\.log)", shown)
    assert max(map(len, shown.splitlines())) < 3_000 or view[-1] == "boom"
    for name in SHOWN.values() if view[:3] in (["show", "one"], ["show", "one", "--metrics"]) else ():
        assert name in shown


@pytest.mark.thorough
@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("view", VIEWS, ids=" ".join)
def test_a_terminal_obeys_nothing_that_was_recorded(logs, view, columns):
    code, screen = on_terminal(*view, "--store", logs, columns=columns)
    assert code in {0, 1}
    assert "esc\x1b" not in screen
    assert "bad\x1b" not in screen
    rest = OWN_ESCAPES.sub("", screen)
    assert {char for char in rest if not char.isprintable()} <= {"\r", "\n"}


@pytest.mark.parametrize(("name", "shown"), SHOWN.items(), ids=ascii)
def test_a_step_is_found_by_what_is_shown(logs, name, shown):
    for text in (name, shown):
        assert chunkstore("logs", "--store", logs, "--", "one", text).out == f"printed by {name}\n"
    (found,) = chunkstore("show", "--store", logs, "--json", "--step", f"count.{shown}", "--", "one").json["attempts"]
    assert found["status"] == "SUCCESS"


def test_json_has_internal_names_and_nothing_that_a_terminal_obeys(logs):
    document = chunkstore("show", "one", "--store", logs, "--json").out
    assert "a%2Ecsv" in json.loads(document)["log"]["steps"]
    _, screen = on_terminal("show", "one", "--store", logs, "--json")
    assert json.loads(screen) == json.loads(document)
    assert {char for char in screen if not char.isprintable()} <= {"\r", "\n"}


def test_a_long_error_is_cut_where_it_is_one_of_many_things(logs):
    shown = chunkstore("show", "one", "--store", logs).out
    assert "ValueError: [red]bad\\x1b[31m yyy" in shown
    assert "characters more" in shown
    step = chunkstore("show", "one", "--store", logs, "--step", "boom").out
    assert "y" * 5_000 in step
    assert "more of 1" in step


def test_a_traceback_is_cut_unless_all_is_asked_for(tmp_path):
    store = library.open_store("chunked-fs", log_folder=str(tmp_path / "logs"))
    with store.start_run("one") as run, run.step("boom", on_error="continue"):
        raise ValueError("x" * 50_000 + " end")
    shown = chunkstore("show", "one", "--step", "boom", "--store", tmp_path / "logs").out
    assert len(shown) < 25_000
    assert "characters left out; --all shows them" in shown
    assert " end\n" in shown
    assert "x" * 50_000 in chunkstore("show", "one", "--step", "boom", "--all", "--store", tmp_path / "logs").out


def test_exported_rows_have_both_names_and_are_as_many_as_they_should_be(logs, tmp_path):
    import csv

    for table in ("steps", "attempts", "metrics", "params"):
        file = tmp_path / f"{table}.csv"
        assert chunkstore("export", "one", "--store", logs, "--to", file, "--table", table).code == 0
        with file.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        names = {row["internal_name"]: row["shown_name"] for row in rows}
        assert names["count.a%2Ecsv.work"] == "count.a.csv.work"
        assert names["count.[NaN].work"] == "count.[NaN].work"
        assert "$float" not in file.read_text()


def test_an_end_of_line_of_any_system_stays_within_its_field(tmp_path):
    import csv

    names = ["x\ry", "x\ny", "x\r\ny", "\r", 'q"uote', "z", "a,b"]
    store = library.open_store("chunked-fs", log_folder=str(tmp_path / "logs"))
    with store.start_run("one") as run:
        for name in names:
            with run.step(name):
                pass
    assert chunkstore("export", "one", "--store", tmp_path / "logs", "--to", tmp_path / "steps.csv").code == 0
    with (tmp_path / "steps.csv").open(newline="", encoding="utf-8") as opened:
        assert [row["name"] for row in csv.DictReader(opened)] == names
    assert (tmp_path / "steps.csv").read_bytes().count(b"\r\n") == 3  # that of the name, in three columns

"""`chunkstore why`: why a step of a resumed run ran again, or where it was taken over from."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner

import chunkstore as library
from chunkstore.cli import explaining
from chunkstore.errors import RunLogNotFoundError, StepLogNotFoundError
from chunkstore.views.compare.reuse import Explanation

app = typer.Typer()
app.command("why")(explaining.why)


def why(*arguments, **environment):
    return CliRunner().invoke(app, list(map(str, arguments)), env=environment)


def load(path):
    return path


def resumed(store, paths, **parameters):
    """Record a run per path, each of which resumes the one before."""
    for number, path in enumerate(paths):
        with store.start_run(
            f"run-{number}", resume=f"run-{number - 1}" if number else None, parameters={"path": path, **parameters}
        ) as run:
            run.step("load", load, path)
            run.step("same", load, "same")


def test_what_ran_again_and_what_was_taken_over(store, logs):
    resumed(store, ["a.csv", "b.csv"])
    result = why("load", "--store", logs)
    assert result.exit_code == 0
    assert "ran: arguments changed since run run-0" in result.output
    assert 'path: "a.csv" → "b.csv"' in result.output
    assert "taken over from run run-0" in why("same", "--store", logs).output
    assert "path" not in why("same", "--store", logs).output


def test_the_run_can_be_named(store, logs):
    resumed(store, ["a", "b"])
    result = why("load", "--run", "run-0", "--store", logs)
    assert result.exit_code == 0
    assert "resumed no other run" in result.output


def test_an_earlier_run_that_is_gone(store, logs):
    resumed(store, ["a", "b"])
    store.delete_run("run-0")
    assert "Run run-0, which was resumed, is not in the store any more" in why("load", "--store", logs).output


def test_runs_that_name_each_other_as_their_original_end(store, logs):
    for one, other in (("a", "b"), ("b", "a")):
        store.create_run_log(one, original_run_id=other, use_cached=True)
        store.add_step_log(one, library.StepLog(name="load", internal_name="load", status="FAIL"))
    result = why("load", "--run", "a", "--store", logs)
    assert "It had failed in run b." in result.output


def test_as_json(store, logs):
    resumed(store, ["a", "b"])
    found = json.loads(why("load", "--store", logs, "--json").stdout)
    explanation = msgspec.convert(found, Explanation)
    assert (explanation.run_id, explanation.resumed, explanation.step.where) == ("run-1", "run-0", "load")
    assert [reason.kind for reason in explanation.step.reasons] == ["arguments changed"]


def test_names_that_mean_nothing_raise_what_the_command_line_prints(store, logs):
    resumed(store, ["a"])
    assert isinstance(why("laod", "--store", logs).exception, StepLogNotFoundError)
    assert "Did you mean 'load'?" in str(why("laod", "--store", logs).exception)
    assert isinstance(why("load", "--run", "nobody", "--store", logs).exception, RunLogNotFoundError)


@pytest.mark.sampled
@pytest.mark.parametrize("columns", [80, 140])
def test_a_wide_map_fits_the_screen(store, logs, columns):
    def score(item):
        if item["bad"] and broken.exists():
            raise ValueError(f"no rows, and a message that is longer than many screens are wide: {'x' * 99}")
        return item["size"]

    broken = Path(logs).with_name("broken")
    broken.touch()
    items = [{"id": f"file-{n}", "size": n, "bad": n < 12} for n in range(60)]
    with ThreadPoolExecutor(2) as threads:
        for run_id, resume in (("one", None), ("two", "one")):
            with store.start_run(run_id, resume=resume) as run:
                run.map("score", items, score, executor=threads, on_error="continue", name_of=lambda item: item["id"])
            broken.unlink(missing_ok=True)
            items.append({"id": "new", "size": 1, "bad": False})
    result = why("score", "--store", logs, COLUMNS=str(columns))
    lines = result.output.splitlines()
    assert "61 branches: 48 taken over, 13 ran" in lines[0]
    assert max(map(cell_len, lines)) <= columns
    assert len(lines) < 60
    assert "… and 2 more; --all names them" in " ".join(result.output.split())
    assert {line.strip() for line in lines} >= {"48 taken over from run one", "12 ran: failed in run one"}
    whole = why("score", "--store", logs, "--all").output
    assert all(f"score.{item['id']}\n" in whole.replace(" \n", "\n") for item in items[:60])


def test_names_cannot_colour_the_screen(store, logs):
    store.create_run_log("one")
    store.add_step_log("one", library.StepLog(name="x", internal_name="[red]\x1b[31mx", status="\x1b[31m"))
    result = why("[red]\x1b[31mx", "--store", logs, FORCE_COLOR="1")
    assert "\x1b[31m" not in result.output
    assert r"[red]\x1b[31mx" in result.output

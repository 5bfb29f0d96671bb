"""Runs and lists of runs in notebooks: safe and small HTML, whatever was recorded."""

import inspect
import subprocess
import sys
from datetime import datetime, timezone
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkstore
from chunkstore.clock import format_time
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, Problem, RunLog
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.runs.liveness import Liveness
from chunkstore.stores.runs.run_list import RunList
from chunkstore.views.pages.notebook import MOST_CHARACTERS, run_list_as_html
from chunkstore.views.texts import MOST_OF_MANY
from views.made_logs import attempt, data, git, made_map, made_run, made_step, run_logs

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
EVIL = "<script>alert('x')</script>&\"<img src=x onerror=alert(1)>\x1b[31m\u202e"


class Page(HTMLParser):
    """What a browser sees: tags, balanced, and their text."""

    VOID = frozenset({"br", "hr", "img"})
    ALLOWED = frozenset("div details summary span b pre table thead tbody tr th td style".split())

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags = []
        self.lines = []
        self.styles = []
        self._inside = []
        self.feed(html)
        self.close()
        assert self._inside == [], "tags are closed"

    def handle_starttag(self, tag, attributes):
        assert tag in self.ALLOWED
        for name, _ in attributes:
            assert name in {"class", "title", "open"}
        self._inside.append(tag)
        self.tags.append((tag, dict(attributes)))
        if tag in {"summary", "div", "tr", "pre"}:
            self.lines.append("")
        if tag == "td":
            self.lines[-1] += " "

    def handle_endtag(self, tag):
        assert self._inside.pop() == tag, "tags are closed in order"

    def handle_comment(self, _):
        pytest.fail("a comment")

    def handle_data(self, text):
        if "style" in self._inside:
            self.styles.append(text)
        else:
            self.lines[-1:] = ["".join([*self.lines[-1:], text])]

    @property
    def text(self):
        return [" ".join(line.split()) for line in self.lines if line.strip()]

    def count(self, tag):
        return sum(found == tag for found, _ in self.tags)


def page_of(log):
    return Page(log._repr_html_())


@pytest.mark.thorough
@given(log=run_logs)
def test_any_run_becomes_a_page_of_balanced_and_harmless_tags(log):
    page = page_of(log)
    assert any(line.startswith(log.run_id) for line in page.text)


def test_names_messages_and_values_stand_there_as_they_are_and_can_do_nothing():
    step = made_step("load", "FAIL", message=EVIL, attempts=[attempt(message=EVIL, parameters={EVIL: EVIL})])
    step.user_defined_metrics = {EVIL: EVIL}
    step.data_catalog = [data(EVIL, EVIL, EVIL)]
    step.cached_from = EVIL
    step.branches["load.x"] = BranchLog(internal_name=f"load.{EVIL}", status=EVIL, message=EVIL)
    log = made_run(step, run_id=EVIL, tag=EVIL, status=EVIL, parameters={EVIL: EVIL}, original_run_id=EVIL)
    log.found_problems = [Problem("corrupt", EVIL, EVIL)]
    log.run_config["chunkstore"]["message"] = EVIL
    html = log._repr_html_()
    for forbidden in ("<script", "<img", "onerror=alert(1)>", "\x1b", "\u202e"):
        assert forbidden not in html
    page = Page(html)
    shown = "<script>alert('x')</script>&\"<img src=x onerror=alert(1)>\\x1b[31m\\u202e"
    assert sum(line.count(shown) for line in page.text) >= 15


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs():
    html = made_run(made_map("score", 3), parameters={"a": 1})._repr_html_()
    for forbidden in ("http", "url(", "@import", "<script", "src=", "href=", "javascript", " on"):
        assert forbidden not in html


def test_what_a_step_shows():
    step = made_step("fit", "FAIL", 125.0, message="ValueError: bad\nmore")
    step.attempts = [attempt(1), attempt(120, start=5, message="Traceback:\n  line\nValueError: bad")]
    step.user_defined_metrics = {"a": 0.123456789, "b": float("nan"), "c": 1, "d": 2}
    step.metric_series = {"loss": [MetricPoint(1, 0.5), MetricPoint(2, 0.25)], "none": []}
    step.data_catalog = [data("model.bin", "abcdef" * 10), data("fit.execution.log", "1")]
    step.code_identities = [git("a" * 40)]
    text = page_of(made_run(step, made_step("end"), tag="nightly", status="FAIL")).text
    assert text[0] == "run ✘ FAIL 10.0 s 2 steps: 1 succeeded, 1 failed tag nightly"
    assert "✘ fit 2 min 5 s 2 attempts a=0.123457, b=nan, c=1, d=2 and 1 more ValueError: bad" in text
    assert "Traceback: line ValueError: bad" in text
    assert "✔ end 1.0 s" in text
    assert "loss 0.25" in text
    assert "put model.bin abcdefabcdef" in text
    assert f"{'a' * 12} 1 step" in text
    assert not any("execution.log" in line for line in text)


def test_what_failed_is_open_and_what_succeeded_is_folded():
    def fail(number, step):
        if number == 7:
            step.status, step.message = "FAIL", "ValueError: seven"

    good, bad = made_map("good", 2_000), made_map("bad", 2_000, status="FAIL", change=fail)
    page = page_of(made_run(good, bad))
    assert len(page.text) < 20
    assert "✔ good map, 2,000 branches: 2,000 succeeded 1.0 s" in page.text
    assert "2,000 branches succeeded" in page.text
    assert "✘ 7 1.0 s loss=0.7 ValueError: seven" in page.text
    assert "1,999 more branches succeeded" in page.text
    assert ["open" in attributes for tag, attributes in page.tags if tag == "details"] == [True, False, True]


@pytest.mark.thorough
@pytest.mark.parametrize("bad", [0, 2, 20_000])
def test_a_page_of_a_large_run_is_small(bad):
    traceback, parameters = "y" * 100_000, {f"p{number}": "z" * 1_000 for number in range(200)}

    def fail(number, step):
        if bad and number % (20_000 // bad) == 0:
            step.status = "FAIL"
            step.message = traceback
            step.attempts = [attempt(message=traceback, parameters=parameters)]

    log = made_run(made_map("score", 20_000, change=fail), *(made_step(f"s{number}") for number in range(20_000)))
    html = log._repr_html_()
    assert len(html) < 2 * MOST_CHARACTERS
    text = Page(html).text
    assert "40,001 steps" in text[0]
    assert any("more steps succeeded" in line for line in text)


def test_what_is_left_out_to_keep_the_page_small_is_counted():
    steps = [
        made_step(f"s{number}", "FAIL", attempts=[attempt(message="y" * 10_000) for _ in range(3)])
        for number in range(100)
    ]
    text = page_of(made_run(*steps, run_id="big")).text
    shown = sum("✘ s" in line for line in text)
    assert 20 < shown < 100
    assert text[-1] == (f"{100 - shown} records left out, to keep this page small. `chunkstore show big` shows more.")


def test_records_nested_deeper_than_a_page_can_show_are_counted():
    step = top = made_step("s")
    for _ in range(3_000):
        branch = BranchLog(internal_name=f"{step.internal_name}.b", status="SUCCESS")
        step.branches[branch.internal_name] = branch
        step = made_step(f"{branch.internal_name}.s")
        branch.steps[step.internal_name] = step
    text = page_of(made_run(top)).text
    assert text[-1] == "1 branch inside"
    assert as_text(made_run(top)).startswith("run  SUCCESS")
    assert len(text) < 50


def test_a_run_of_nothing():
    assert page_of(RunLog(run_id="empty", status="")).text == ["empty ? 0 steps"]


def test_a_job_and_values_that_no_json_has():
    log = RunLog(run_id="job", parameters={"x": object(), "n": 10**5_000})
    log.job = chunkstore.records.models.JobLog(status="FAIL", message="bad")
    text = page_of(log).text
    assert "✘ job bad" in text
    assert any(line.startswith("x <object obj") for line in text)


def as_text(log):
    class Printer:
        def text(self, text):
            self.written = text

    printer = Printer()
    log._repr_pretty_(printer, False)
    return printer.written


def test_interactive_shells_show_a_tree_instead_of_megabytes():
    log = made_run(made_map("score", 20_000), made_step("end"), tag="\x1b[31m")
    text = as_text(log)
    assert "20,000 branches succeeded" in text
    assert len(text) < 1_000
    assert "\x1b" not in text


# --- the list of runs ------------------------------------------------------------------------------------------------


def summaries(count, **fields):
    return [
        RunSummary(run_id=f"run-{number}", status="SUCCESS", start_time=format_time(NOW), **fields)
        for number in range(count)
    ]


def list_of(runs, liveness=lambda _: pytest.fail("it has ended")):
    def generate():
        for run in runs:
            if isinstance(run, Exception):
                raise run
            yield run

    return RunList(generate(), liveness, "somewhere")


def test_a_list_of_runs_is_a_table_of_the_newest():
    page = Page(list_of(summaries(70, tag="<nightly>"))._repr_html_())
    assert page.count("tr") == 51
    assert "run-0" in page.text[1]
    assert page.text[1].endswith("<nightly>")
    assert page.text[-1] == "The newest 50 runs; there are more."
    page = Page(list_of(summaries(50))._repr_html_())
    assert page.count("tr") == 51
    assert "more" not in page.text[-1]
    assert Page(list_of([])._repr_html_()).text == ["No runs."]


@pytest.mark.parametrize("taken", [0, 3, 60])
def test_to_be_shown_takes_nothing_from_the_iterator(taken):
    runs = summaries(70)
    listed = list_of(runs)
    assert [next(listed) for _ in range(taken)] == runs[:taken]
    for _ in range(2):
        listed._repr_html_()
    assert list(listed) == runs[taken:]
    assert list(listed) == []


def test_what_goes_wrong_while_it_is_shown_is_raised_in_its_place():
    runs = summaries(3)
    listed = list_of([*runs, OSError("gone")])
    assert "run-2" in listed._repr_html_()
    assert [next(listed) for _ in range(3)] == runs
    with pytest.raises(OSError, match="gone"):
        next(listed)
    assert list(listed) == []


def test_a_list_is_an_iterator_that_reads_when_it_is_asked_and_can_be_closed(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "logs"))
    listed = store.list_runs()
    store.create_run_log("made-after-the-list")
    assert iter(listed) is listed
    assert repr(listed) == f"<RunList in {tmp_path}/logs>"
    assert next(listed).run_id == "made-after-the-list"
    assert next(listed, None) is None
    for number in range(3):
        store.create_run_log(f"run-{number}")
    listed = store.list_runs()
    next(listed)
    listed._repr_html_()
    listed.close()
    assert list(listed) == []
    store.list_runs().close()


def test_runs_that_have_not_ended_show_whether_anybody_records_them(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path))
    lost = f"import os, chunkstore; chunkstore.open_store(log_folder={str(tmp_path)!r}).start_run('lost'); os._exit(1)"
    subprocess.run([sys.executable, "-c", lost], check=False)
    live = store.start_run("live")
    store.create_run_log("created")
    text = Page(store.list_runs()._repr_html_()).text
    assert [line.split()[:3] for line in text[1:]] == [
        ["?", "UNKNOWN", "created"],
        ["…", "PROCESSING", "live"],
        ["☠", "LOST", "lost"],
    ]
    live.finish()


def test_runs_that_cannot_be_read_say_why():
    broken = RunSummary(run_id="broken", problem=EVIL)
    page = Page(run_list_as_html([broken], {}, NOW, more=False))
    assert page.text[1].startswith("! unreadable broken <script>")


def test_a_run_that_was_deleted_meanwhile_is_shown_as_it_was(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path))
    store.create_run_log("gone")
    listed = store.list_runs()
    listed._read_ahead(1)
    store.delete_run("gone")
    assert "gone" in listed._repr_html_()


@given(text=st.text())
def test_why_a_run_is_lost_is_no_danger_either(text):
    summary = RunSummary(run_id="x", status="PROCESSING")
    dead = Liveness(state="LOST", why=text, host=text)
    Page(run_list_as_html([summary], {"x": dead}, NOW, more=True))


def test_what_makes_pages_is_imported_in_notebooks_alone():
    code = "import sys, chunkstore; chunkstore.RunLog(run_id='a'); print([m for m in sys.modules if 'views' in m])"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
    assert inspect.isfunction(RunList.as_html)


def test_of_a_long_traceback_the_beginning_and_the_end_are_shown():
    error = f"Traceback:\n  line\nValueError: {'y' * 100_000} at last"
    html = made_run(made_step("s", "FAIL", attempts=[attempt(status="FAIL", message=error)]))._repr_html_()
    assert "ValueError: yyy" in html
    assert "yyy at last" in html
    assert f"{len(error) - MOST_OF_MANY:,} characters left out" in html
    assert len(html) < 10_000

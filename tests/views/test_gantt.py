"""How a terminal shows when steps ran."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from chunkstore.records.models import PROCESSING, SUCCESS, Problem, StepLog
from chunkstore.views.timeline.time_axis import tick_step, tick_text
from views.shown_timelines import text_of
from views.timed_runs import map_of, pool_of, run, step, typical

SCREEN = """\
calm-noether-1200  ✘ FAIL  1 min 23 s  tag nightly  1 step failed: score
                        │0 s           │30 s           │60 s
at once                 ▂▂▂▁▂ ▂▂  ▄███████████████████▅▂▂▄▄▄▄▃▂▂▂▂▂▂     up to 4
✔ load                  ██▌                                                5.0 s
✔ fetch  3 attempts       ✘·✘·▐█                                          10.0 s
✘ score  1 of 40 failed           ▐█████████████████████                  40.0 s
  lane 1  10 branches             ╺━━━━━━━━━━━━━━━━━━━╸                 93% busy
  lane 2  10 branches             ▐███████━━━━━━━━━━━━━                 96% busy
  lane 3  9 branches              ╺━━━━━━━━━━━━━━━━━━━                  90% busy
  lane 4  11 branches             ╺━✘━━━━━██████████████               100% busy
✔ train  2 branches                                     ██████████▌       20.0 s
  ✔ forest                                              ╺━━━━              9.0 s
  ✔ boosted                                             ·█████████▌       18.0 s
    ✔ tune                                               ▐███              7.0 s
    ✔ final                                                  ▐████         8.0 s
✔ report                                                          ▐█       2.5 s

critical path  1 min 18 s: load → fetch → score → train → report
longest        fetch 10.0 s, train.forest.fit 9.0 s, train.boosted.final 8.0 s
in all         3 min 11 s of work in 1 min 23 s: 2.3 steps at once on average
█ critical path   ━ other   · waiting   ✘ failed
"""


def test_a_terminal_shows_bars_lanes_waiting_failures_and_the_critical_path():
    assert text_of(typical()) == SCREEN.splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 97, 140, 250])
@pytest.mark.parametrize("count", [3, 400])
def test_no_line_is_wider_than_the_screen(width, count):
    log = typical(count)
    for options in ({}, {"ascii_only": True}, {"height": 24}):
        lines = text_of(log, width=width, **options)
        assert max(map(cell_len, lines)) <= width, options


def test_wide_characters_take_two_columns():
    _, axis, _, wide, plain, *_ = text_of(run(step("模型训练模型训练", 0, 2), step("b", 0, 2)))
    columns = {cell_len(line[: line.index(char)]) for line, char in ((axis, "│"), (wide, "━"), (plain, "█"))}
    assert len(columns) == 1


@pytest.mark.parametrize("height", [14, 18, 24, 40])
def test_wide_maps_are_folded_to_the_height_of_the_screen(height):
    log = run(*(map_of(f"m{number}", pool_of(10, 2, 0.1)) for number in range(3)))
    lines = text_of(log, height=height)
    assert len(lines) <= height
    hidden = [line for line in lines if "more rows; --all shows them" in line]
    assert bool(hidden) == (height < 19)


def test_all_shows_every_step():
    lines = text_of(typical(100), show_all=True, height=24)
    names = [line.split()[1] for line in lines if re.match(r"\s*[✔✘] \d+ ", line)]
    assert sorted(names, key=int) == [str(number) for number in range(100)]


def test_many_lanes_are_cut():
    lines = text_of(run(map_of("m", [(0, 1)] * 50)))
    assert sum("lane" in line for line in lines) == 16
    assert any("34 more rows" in line for line in lines)


def test_ascii_output_is_ascii():
    assert all(line.isascii() for line in text_of(typical(), ascii_only=True))


def test_names_send_nothing_to_the_terminal():
    log = run(step("a", 0, 1, name="\x1b[31mred\x07\r\nsecond"), run_id="x", tag="\x1b]0;t\x07")
    log.run_config["chunkstore"] = {"message": "\x1b[2J"}
    log.steps["u"] = StepLog(name="u", internal_name="\u202eu\x1b", status=SUCCESS)
    text = "".join(text_of(log))
    assert not re.search("[\x00-\x1f\x7f\u202e]", text)
    assert "\\x1b[31mred" in text


def test_problems_and_steps_without_times_are_told():
    log = run(step("a", 0, 1), *(StepLog(name=f"u{n}", internal_name=f"u{n}", status=PROCESSING) for n in range(9)))
    log.found_problems = [Problem("corrupt", "StepLog-x-1.json", "cut off")]
    lines = text_of(log)
    assert any(re.match(r"without times +9: u0, u1, u2, u3, u4, …", line) for line in lines)
    assert any(re.match("not readable +1 problem", line) for line in lines)


@given(st.floats(1e-6, 1e9), st.integers(1, 20))
def test_the_marks_of_the_axis_are_few_and_round(total, most):
    step_size = tick_step(total, most)
    assert total / step_size <= most * (1 + 1e-6)
    texts = [tick_text(number * step_size, step_size) for number in range(min(int(total / step_size) + 1, 10))]
    assert texts[0] == "0 s"


def test_the_marks_of_the_axis_are_read_as_people_say_them():
    assert [tick_text(value, 0.5) for value in (0.5, 1)] == ["0.5 s", "1.0 s"]
    assert [tick_text(value, 1_800) for value in (1_800, 5_400)] == ["30 min", "1:30 h"]
    assert [tick_text(2 * value, value) for value in (86_400, 30, 0.02, 0.00002)] == ["2 d", "60 s", "40 ms", "40 us"]

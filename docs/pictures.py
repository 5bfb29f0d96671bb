"""Renews the pictures of the README and of these pages: `python docs/pictures.py`, with the extra `test` and Chromium.

Terminals are what the real commands print there, as SVG; the page of a timeline is what Chromium shows of it. Ids and
times are given, so that the same code makes the same pictures.
"""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PICTURES = PROJECT / "docs" / "pictures"
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from views.timed_runs import at, attempt, branch, map_of, pool_of, run, step

import chunkstore

#: What is typed into each terminal, and how many columns that has.
TERMINALS = {
    "show": (["chunkstore ls", "chunkstore show nightly-42"], 84),
    "timeline": (["chunkstore timeline nightly-42"], 84),
}
FAILED = "score.33.work"
#: When the second run began, as `timed_runs` counts: in 2025, as times of the current year are shown without it.
BEGIN = -365 * 86_400
#: What of a page is in the picture.
VIEWPORT = {"width": 1200, "height": 640}

#: Like that of rich, without fonts from a network.
SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
#: Dark in light pages and in dark ones.
THEME = TerminalTheme(
    (24, 26, 31),
    (222, 225, 230),
    [
        (24, 26, 31),
        (255, 123, 114),
        (87, 199, 122),
        (227, 179, 65),
        (108, 182, 255),
        (220, 150, 240),
        (86, 212, 221),
        (222, 225, 230),
    ],
)


def record_runs(store: chunkstore.Store) -> None:
    """Record two runs of a pipeline: of the second, a step fails."""
    store.add_run_log(nightly("nightly-41", BEGIN - 86_400, failed=[]))
    store.add_run_log(nightly("nightly-42", BEGIN, failed=[33]))


def nightly(run_id: str, begin: float, failed: list[int]) -> chunkstore.RunLog:
    """Return a run that began so many seconds after all began; some branches of its map failed."""
    tries = [
        attempt(begin + 0.3, begin + 0.4, "FAIL", 1, "Traceback\nOSError: not yet"),
        attempt(begin + 0.9, begin + 1.0, number=2),
    ]
    times = pool_of(60, 4, 0.035, begin=begin + 1.0)
    score = map_of("score", times, failed)
    for number, inner in enumerate(score.branches.values()):
        (scored,) = inner.steps.values()
        scored.user_defined_metrics = {"loss": round(1 / (number + 1), 4)}
        if number in failed:
            scored.message = scored.attempts[-1].message = f"ValueError: no such file: {number}.csv"
    end = max(last for _, last in times)
    forest = step("train.forest.fit", end, end + 0.4, user_defined_metrics={"accuracy": 0.93})
    tune = step("train.boosted.tune", end, end + 0.25)
    fit = step("train.boosted.fit", end + 0.25, end + 0.8, user_defined_metrics={"accuracy": 0.95})
    branches = [branch("train.forest", forest), branch("train.boosted", tune, fit)]
    return run(
        step("load", begin, begin + 0.3, user_defined_metrics={"rows": 10_000}),
        step("fetch", begin + 0.3, begin + 1.0, attempts=tries),
        score,
        step("train", end, end + 0.8, branches=branches, step_type="parallel"),
        step("report", end + 0.8, end + 0.95),
        run_id=run_id,
        status="FAIL" if failed else "SUCCESS",
        tag="nightly",
        parameters={"seed": 7},
        run_config={
            "chunkstore": {
                "created": at(begin),
                "finished": at(end + 0.95),
                "message": "1 step failed: score" if failed else "",
            }
        },
    )


def printed_on_terminal(command: str, folder: Path, columns: int) -> str:
    """Run a command of chunkstore on a terminal; return what it prints there, colours and all."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
    arguments = [sys.executable, "-m", "chunkstore", *command.split()[1:]]
    environment = {"TERM": "xterm-256color", "TZ": "UTC", "PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"}
    started = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=terminal, stderr=terminal)
    os.close(terminal)
    printed = b""
    try:
        while piece := os.read(reader, 65536):
            printed += piece
    except OSError:
        pass  # how Linux tells that nobody can write any more
    os.close(reader)
    started.wait()
    return printed.decode().replace("\r\n", "\n")


def draw_terminal(name: str, runs: Path, folder: Path) -> None:
    """Draw a terminal in which commands were typed."""
    commands, columns = TERMINALS[name]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True, color_system="truecolor")
        for number, command in enumerate(commands):
            console.print(Text(f"{chr(10) * (number > 0)}$ {command}", style="bold"))
            console.print(Text.from_ansi(printed_on_terminal(command, runs, columns).rstrip()), no_wrap=True, crop=True)
        svg = console.export_svg(title="chunkstore", theme=THEME, code_format=SVG, unique_id=name)
    lines = (line.rstrip() for line in svg.splitlines())
    (folder / f"{name}.svg").write_text("\n".join(filter(None, lines)) + "\n", encoding="utf-8")


def draw_page(store: chunkstore.Store, runs: Path, folder: Path) -> None:
    """Draw the page of a timeline, with the step that failed chosen."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - terminals need no browser

    page_file = runs / "timeline.html"
    page_file.write_text("".join(chunkstore.timeline_page(store.get_run_log("nightly-42"))), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(viewport=VIEWPORT, locale="en-GB", timezone_id="UTC").new_page()
        page.goto(page_file.as_uri())
        page.evaluate("() => new Promise(requestAnimationFrame)")
        page.mouse.click(*page.evaluate(PLACE_OF, FAILED))
        page.mouse.move(0, 0)
        page.evaluate("() => new Promise(requestAnimationFrame)")
        page.screenshot(path=folder / "timeline.png")
        browser.close()


#: Where on the page the middle of a step is drawn.
PLACE_OF = """(name) => {
    const span = data.internal.indexOf(name), box = canvas.getBoundingClientRect();
    return [box.left + xOf((start[span] + end[span]) / 2),
            box.top + AXIS + rowOf[span] * ROW - chart.scrollTop + ROW / 2];
}"""


def draw(folder: Path, *, with_page: bool = True) -> None:
    """Draw all pictures into a folder."""
    with tempfile.TemporaryDirectory() as runs:
        store = chunkstore.open_store("chunked-fs", log_folder=os.path.join(runs, ".run_log_store"))
        record_runs(store)
        for name in TERMINALS:
            draw_terminal(name, Path(runs), folder)
        if with_page:
            draw_page(store, Path(runs), folder)


if __name__ == "__main__":
    draw(PICTURES)

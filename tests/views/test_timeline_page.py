"""The page of a timeline, in a real browser without a network."""

import json
import re
import shutil
import time

import pytest
from privileges import skip_or_fail

from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import DataCatalog, StepLog
from chunkstore.views.timeline import timeline_of
from chunkstore.views.timeline.page import page_of
from views.timed_runs import attempt, branch, map_of, pool_of, run, step, typical

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><b>&amp;\u2028\u202e"
ARGUMENTS = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-quic"
).split()
#: Draws while it zooms in; returns the rectangles of each picture and the milliseconds that the middle one took.
ZOOM_IN = """() => {
    const fillRect = pen.fillRect.bind(pen), filled = [], times = [];
    for (let turn = 0; turn < 40; turn++) {
        let rectangles = 0;
        pen.fillRect = (...where) => { rectangles += 1; fillRect(...where); };
        canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: -120, clientX: 700, clientY: 300, cancelable: true}));
        const begun = performance.now();
        draw();
        times.push(performance.now() - begun);
        filled.push(rectangles);
    }
    return [Math.max(...filled), times.sort((a, b) => a - b)[20], view.to - view.from];
}"""
#: How well texts can be told from what is behind them, as WCAG 2.2 measures it.
CONTRASTS = """() => {
    const parse = (color) => color.startsWith("#")
        ? [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)) : color.match(/\\d+/g).map(Number);
    const light = (color) => parse(color).map((one) => one / 255)
        .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
    const ratio = (one, other) => {
        const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
        return (high + 0.05) / (low + 0.05);
    };
    return [
        ...["text", "quiet"].flatMap((name) => [colors.page, colors.raised].map((back) => ratio(colors[name], back))),
        ...colors.solid.map((color) => ratio(color, colors.page)),
        ...colors.pale.map((color) => ratio(colors.text, color)),
    ];
}"""


def wait_until(page, expression):
    """Wait until an expression is true; `wait_for_function` looks again by what the page forbids, an `eval`."""
    deadline = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


@pytest.fixture(scope="module")
def browser():
    executable = shutil.which("chromium")
    if executable is None:
        skip_or_fail("chromium is not installed (Debian's package chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip_or_fail("playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Return a function that opens the page of a run; nothing may go wrong in it, and nothing be asked of a network."""
    contexts, wrong = [], []

    def opened(log, *, until=None, **options):
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text("".join(page_of(timeline_of(log, until=until))), encoding="utf-8")
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", "timezone_id": "UTC"} | options
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda request: request.url.startswith("file:") or wrong.append(request.url))
        page.goto(path.as_uri())
        page.evaluate("() => new Promise(requestAnimationFrame)")
        return page

    opened.wrong = wrong
    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def place_of(page, internal_name):
    """Return where on the page the middle of a step is drawn."""
    return page.evaluate(
        """(name) => {
            const span = data.internal.indexOf(name), box = canvas.getBoundingClientRect();
            return [box.left + xOf((start[span] + end[span]) / 2),
                    box.top + AXIS + rowOf[span] * ROW - chart.scrollTop + ROW / 2];
        }""",
        internal_name,
    )


def drawn_colors(page):
    """Return how many different colors are on the canvas."""
    return page.evaluate(
        """() => {
            const pixels = new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
            return new Set(pixels).size;
        }"""
    )


def detail(page, name):
    return page.locator(f"#details dt:text-is('{name}') + dd").inner_text()


def seen(page):
    """Return the times between which steps are seen."""
    return page.evaluate("[view.from, view.to]")


# --- without a browser -----------------------------------------------------------------------------------------------


def hostile_run():
    log = run(step("a", 0, 1, name=HOSTILE, message=HOSTILE), status="FAIL", run_id="x", tag=HOSTILE)
    log.steps["a"].user_defined_metrics = {HOSTILE: HOSTILE, "big": 2**70 + 1, "nan": float("nan")}
    log.steps["a"].attempts = [attempt(0, 1, "FAIL", message=HOSTILE)]
    log.steps["a"].data_catalog = [DataCatalog(name=HOSTILE, data_hash="ab" * 32, stage="put")]
    log.run_config["chunkstore"] = {"message": HOSTILE}
    log.steps["later"] = StepLog(name=HOSTILE, internal_name=HOSTILE)
    return log


def test_nothing_of_a_run_is_markup():
    text = "".join(page_of(timeline_of(hostile_run())))
    assert text.count("<script") == text.count("</script>") == 3
    assert "<img" not in text
    assert "\u2028" not in text
    blocks = re.findall(r'<script type="application/json" id="\w+">(.*?)</script>', text, re.DOTALL)
    assert json.loads(blocks[0])["name"] == [HOSTILE]
    assert [json.loads(line)["message"] for line in blocks[1].strip().splitlines()] == [HOSTILE]


def test_long_errors_of_many_steps_make_no_large_page():
    log = run(*(step(f"s{number}", 0, 1) for number in range(50)))
    for each in log.steps.values():
        each.attempts = [attempt(0, 1, "FAIL", message=f"ValueError: {'y' * 100_000} at last")]
    page = "".join(page_of(timeline_of(log)))
    assert page.count("ValueError: yyy") == page.count("yyy at last") == 50
    assert len(page) < 50 * 5_000 + 100_000


def test_marks_of_the_template_in_a_run_stay_text():
    text = "".join(page_of(timeline_of(run(step("a", 0, 1, name="{{records}}"), run_id="{{policy}}"))))
    assert '"name":["{{records}}"]' in text
    assert '"run_id":"{{policy}}"' in text


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_the_run(open_page, scheme):
    page = open_page(typical(), color_scheme=scheme)
    assert page.inner_text("#run") == "calm-noether-1200"
    assert page.inner_text("#status") == "✘ FAIL"
    assert "3 min 11 s of work: 2.3 steps at once on average · tag nightly" in page.inner_text("#facts")
    assert page.inner_text("#path") == "Critical path, 1 min 18 s: load → fetch → score → train → report"
    assert drawn_colors(page) > 20
    assert min(page.evaluate(CONTRASTS)) >= 4.5
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 20, 24)"}[scheme]


def test_a_hostile_name_is_shown_and_does_nothing(open_page):
    page = open_page(hostile_run())
    page.mouse.click(*place_of(page, "a"))
    assert page.title() == "x · timeline"
    assert page.locator("img").count() == 0
    assert page.inner_text("#details h2") == HOSTILE
    assert page.locator("#details pre").first.inner_text() == HOSTILE
    values = page.locator("#details td.value").all_inner_texts()
    assert [json.dumps(HOSTILE, ensure_ascii=False), str(2**70 + 1), "nan"] == values[:3]


def test_the_policy_runs_no_other_script(open_page):
    page = open_page(typical())
    page.evaluate(
        """() => {
            window.blocked = [];
            addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
            document.body.insertAdjacentHTML("beforeend", '<p id="p" onclick="document.title = 1">x</p>');
            document.getElementById("p").click();
        }"""
    )
    wait_until(page, "blocked.length > 0")
    assert page.evaluate("blocked") == ["script-src-attr"]
    assert page.title() == "calm-noether-1200 · timeline"
    assert "Content Security Policy" in open_page.wrong.pop()


def test_a_click_shows_everything_about_a_step(open_page):
    log = typical()
    fit = log.steps["train"].branches["train.forest"].steps["train.forest.fit"]
    fit.attempts = [attempt(61, 63, "FAIL", 1, "Traceback\nOSError: no <disk>"), attempt(64, 70, number=2)]
    fit.attempts[1].parameters = {"depth": 8, "inf": float("inf")}
    fit.user_defined_metrics = {"accuracy": 0.93}
    fit.metric_series = {"loss": [MetricPoint(step=0, value=1.5), MetricPoint(step=1, value=0.5)]}
    fit.data_catalog = [DataCatalog(name="model.bin", data_hash="0f" * 32, stage="put")]
    page = open_page(log)
    page.mouse.click(*place_of(page, "train.forest.fit"))
    assert page.inner_text("#details h2") == "forest"
    assert (detail(page, "Status"), detail(page, "Took"), detail(page, "Waited")) == ("✔ SUCCESS", "9.0 s", "1.0 s")
    assert (detail(page, "Whole name"), detail(page, "Critical path")) == ("train.forest.fit", "no")
    text = page.inner_text("#details")
    for shown in (
        "accuracy\t0.93",
        "loss\t0.5 (2 points)",
        "depth\t8",
        "inf\tinf",
        "2\t1 May 2026, 12:01:04\t6.0 s\tSUCCESS",
        f"model.bin\tput\t{'0f' * 32}",
    ):
        assert shown in text
    assert "OSError: no <disk>" in page.locator("#details pre").all_inner_texts()[0]
    page.keyboard.press("Tab")
    page.locator("#details .close").click()
    assert page.locator("#details").is_hidden()


@pytest.mark.thorough
def test_a_pointer_over_a_step_shows_what_it_is(open_page):
    page = open_page(typical())
    page.mouse.move(*place_of(page, "fetch"))
    assert page.inner_text("#tip").splitlines() == [
        "✔ fetch",
        "SUCCESS, 10.0 s, from 1 May 2026, 12:00:05",
        "3 attempts",
        "on the critical path",
    ]
    page.mouse.move(5, 5)
    page.mouse.move(6, 6)
    assert page.locator("#tip").is_hidden()


@pytest.mark.thorough
def test_the_wheel_zooms_around_the_pointer_and_dragging_moves(open_page):
    page = open_page(typical())
    x, y = place_of(page, "load")
    under = page.evaluate("(x) => timeAt(x)", x)
    page.mouse.move(x, y)
    for _ in range(5):
        page.mouse.wheel(0, -240)
    wait_until(page, "view.to - view.from < 20")
    assert page.evaluate("(x) => timeAt(x)", x) == pytest.approx(under, abs=0.1)
    before = seen(page)
    page.mouse.move(900, 600)
    page.mouse.down()
    page.mouse.move(700, 600, steps=4)
    page.mouse.up()
    after = seen(page)
    assert after[0] > before[0]
    assert after[1] - after[0] == pytest.approx(before[1] - before[0])
    page.click("#fit")
    assert seen(page) == pytest.approx([-0.83, 83.83], abs=0.01)
    page.keyboard.down("Shift")
    page.mouse.move(600, 600)
    page.mouse.down()
    page.mouse.move(800, 600, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert seen(page)[1] - seen(page)[0] < 20


@pytest.mark.thorough
def test_rows_below_the_window_are_reached(open_page):
    page = open_page(run(*(step(f"s{number}", number, number + 1) for number in range(60))))
    page.mouse.move(50, 500)
    page.mouse.wheel(0, 400)
    wait_until(page, "chart.scrollTop > 300")
    assert seen(page)[0] < 0, "it did not zoom"
    page.focus("#canvas")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("chart.scrollTop") == 0
    for _ in range(59):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("data.name[selected]") == "s59"
    page.mouse.click(*place_of(page, "s58"))
    assert page.inner_text("#details h2") == "s58"


@pytest.mark.thorough
def test_the_overview_moves_to_another_part(open_page):
    page = open_page(typical())
    page.evaluate("setView(0, 10)")
    box = page.locator("#overview").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 10, box["y"] + 10)
    assert seen(page)[0] > 70
    assert seen(page)[1] - seen(page)[0] == pytest.approx(10)


@pytest.mark.thorough
def test_two_fingers_zoom(open_page):
    page = open_page(typical(), has_touch=True)
    touch = page.context.new_cdp_session(page)
    for kind, spread in (("touchStart", 50), ("touchMove", 80), ("touchMove", 150), ("touchEnd", None)):
        points = (
            [] if spread is None else [{"x": 700 - spread, "y": 400, "id": 0}, {"x": 700 + spread, "y": 400, "id": 1}]
        )
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    wait_until(page, "view.to - view.from < 40")


def test_the_keyboard_reaches_everything(open_page):
    page = open_page(typical())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "search"
    page.focus("#canvas")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert page.inner_text("#details h2") == "score"
    assert page.evaluate("document.activeElement.id") == "details"
    assert "✘ score, FAIL, 40.0 s" in page.text_content("#said")
    page.keyboard.press("Escape")
    assert page.locator("#details").is_hidden()
    assert page.evaluate("document.activeElement.id") == "canvas"
    wide = seen(page)
    page.keyboard.press("+")
    narrow = seen(page)
    page.keyboard.press("0")
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    assert seen(page) == wide
    page.keyboard.press("ArrowDown")
    page.keyboard.press("z")
    assert seen(page)[1] < 20
    page.keyboard.press("c")
    assert page.get_attribute("#critical", "aria-pressed") == "false"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


@pytest.mark.thorough
def test_names_are_searched_and_statuses_filtered(open_page):
    page = open_page(typical())
    page.fill("#search", "tune")
    assert page.inner_text("#found") == "1 of 49"
    page.keyboard.press("Enter")
    assert page.evaluate("data.internal[selected]") == "train.boosted.tune"
    page.fill("#search", "")
    page.click("#filters button:has-text('FAIL')")
    assert page.inner_text("#found") == "2 of 49"
    page.focus("#canvas")
    page.keyboard.press("n")
    assert page.evaluate("data.name[selected]") in {"score", "3"}


@pytest.mark.thorough
def test_ten_thousand_steps_zoom_without_stalling(open_page):
    page = open_page(run(map_of("score", pool_of(10_000, 8, 0.01), failed=range(0, 10_000, 500))))
    most_rectangles, milliseconds, window = page.evaluate(ZOOM_IN)
    assert window < 1
    assert milliseconds < 50
    assert most_rectangles < 2 * 9 * 1280, "what is narrower than a pixel is drawn together"
    page.click("#fit")
    page.fill("#search", "99")
    assert page.inner_text("#found") == "280 of 10,001"
    page.mouse.click(*place_of(page, "score"))
    assert detail(page, "Branches") == "10,000, 20 failed"


@pytest.mark.thorough
def test_what_goes_on_and_what_is_lost_is_told(open_page):
    log = run(step("a", 0, 1), step("b", 1, None, "PROCESSING"), status="PROCESSING")
    log.steps["c"] = StepLog(name="c", internal_name="c", status="PROCESSING")
    page = open_page(log)
    assert "1 without times: c" in page.inner_text("#facts")
    page.mouse.click(*place_of(page, "b"))
    assert detail(page, "Took").endswith("so far")
    assert "No step has begun." in open_page(run()).inner_text("#facts")


@pytest.mark.thorough
def test_it_prints_whole_and_in_light_colors(open_page, tmp_path):
    page = open_page(run(*(step(f"s{number}", number, number + 1) for number in range(50))), color_scheme="dark")
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("canvas.clientHeight") >= 50 * 22
    assert page.evaluate("colors.page") == "#ffffff"
    assert page.locator(".tools").is_hidden()


@pytest.mark.thorough
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(open_page, width):
    page = open_page(typical(), viewport={"width": width, "height": 640})
    page.mouse.click(*place_of(page, "load"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#details").is_visible()


@pytest.mark.thorough
def test_a_branch_of_several_steps_has_details_too(open_page):
    one = branch("both.a", step("both.a.first", 1, 2), step("both.a.second", 3, 7), item="a.csv", parameters={"k": 1})
    page = open_page(run(step("both", 0, 8, branches=[one])))
    page.mouse.click(*place_of(page, "both.a"))
    assert detail(page, "Item") == '"a.csv"'
    assert "k\t1" in page.inner_text("#details")


@pytest.mark.thorough
def test_steps_are_counted_and_not_the_branches_around_them(open_page):
    one = branch("both.a", step("both.a.first", 1, 2), step("both.a.second", 3, 7))
    page = open_page(run(step("both", 0, 8, branches=[one])))
    assert page.inner_text("#filters button").split() == ["✔", "SUCCESS", "3"]
    page.fill("#search", "both.a")
    assert page.inner_text("#found") == "2 of 3"


@pytest.mark.thorough
def test_a_branch_that_is_one_step_tells_its_item(open_page):
    page = open_page(run(map_of("m", [(0, 1), (1, 2)])))
    page.mouse.click(*place_of(page, "m.1.work"))
    assert detail(page, "Item") == "1"

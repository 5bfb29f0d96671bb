// --- moving about -------------------------------------------------------------------------------------------------

function setView(from, to) {
  const span = Math.min(Math.max(to - from, Math.min(total, 1e-5)), total * 1.02);
  const least = -total * 0.01, most = total * 1.01;
  const middle = (from + to) / 2;
  view.from = Math.min(Math.max(middle - span / 2, least), most - span);
  view.to = view.from + span;
  requestDraw();
}

const fit = () => setView(-total * 0.01, total * 1.01);

function zoom(factor, x = gutter + (width - gutter) / 2) {
  const time = timeAt(Math.max(x, gutter));
  setView(time - (time - view.from) * factor, time + (view.to - time) * factor);
}

function move(pixels) {
  const time = pixels / (width - gutter) * (view.to - view.from);
  setView(view.from + time, view.to + time);
}

function zoomTo(span) {
  if (span < 0) return;
  const room = Math.max(end[span] - start[span], 1e-5) * 0.6;
  setView(start[span] - room, end[span] + room);
}

function spanAt(x, y) {
  const at = Math.floor((y - AXIS + chart.scrollTop) / ROW);
  if (y < AXIS || at < 0 || at >= rows.length) return -1;
  const row = rows[at];
  if (x < gutter) return row.lane ? -1 : row.owner;
  const slack = (view.to - view.from) / (width - gutter) * 3;
  const time = timeAt(x);
  let best = -1, distance = Infinity;
  for (let order = firstSpanIn(row, time - slack); order < row.spans.length; order++) {
    const span = row.spans[order];
    if (start[span] > time + slack) break;
    const off = Math.max(start[span] - time, time - end[span], 0);
    if (off < distance) { best = span; distance = off; }
    if (!off) break;
  }
  return best;
}

function select(span, {open = false} = {}) {
  selected = span;
  if (span >= 0) {
    const y = rowOf[span] * ROW, room = height - AXIS - ROW;
    if (y < chart.scrollTop) chart.scrollTop = y;
    if (y > chart.scrollTop + room) chart.scrollTop = y - room;
    if (end[span] < view.from || start[span] > view.to) {
      const half = (view.to - view.from) / 2, middle = (start[span] + end[span]) / 2;
      setView(middle - half, middle + half);
    }
    byId("said").textContent = summaryOf(span).replaceAll("\n", ", ");
    if (open || !byId("details").hidden) showDetails(span);
  } else {
    byId("details").hidden = true;
  }
  requestDraw();
}

function neighbor(span, down) {
  for (let at = rowOf[span] + down; at >= 0 && at < rows.length; at += down) {
    const row = rows[at];
    if (row.spans.length) return row.spans[Math.min(firstSpanIn(row, start[span]), row.spans.length - 1)];
  }
  return span;
}

function nextMatch(step) {
  for (let tried = 1; tried <= count; tried++) {
    const span = ((selected < 0 && step > 0 ? -1 : selected) + step * tried % count + 2 * count) % count;
    if (matches[span]) return select(span);
  }
}

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const row = selected < 0 ? null : rows[rowOf[selected]];
  const first = rows.length ? rows[0].spans[0] : -1;
  const actions = {
    ArrowRight: () => select(row ? row.spans[Math.min(orderIn[selected] + 1, row.spans.length - 1)] : first),
    ArrowLeft: () => select(row ? row.spans[Math.max(orderIn[selected] - 1, 0)] : first),
    ArrowDown: () => select(row ? neighbor(selected, 1) : first),
    ArrowUp: () => select(row ? neighbor(selected, -1) : first),
    Home: () => select(row ? row.spans[0] : first),
    End: () => select(row ? row.spans[row.spans.length - 1] : first),
    PageDown: () => { chart.scrollTop += height - AXIS - ROW; },
    PageUp: () => { chart.scrollTop -= height - AXIS - ROW; },
    Enter: () => { if (selected >= 0) { select(selected, {open: true}); byId("details").focus(); } },
    Escape: () => select(-1),
    "+": () => zoom(0.6, selected < 0 ? undefined : xOf((start[selected] + end[selected]) / 2)),
    "=": () => actions["+"](),
    "-": () => zoom(1 / 0.6),
    "0": fit,
    z: () => zoomTo(selected),
    n: () => nextMatch(1),
    p: () => nextMatch(-1),
    c: toggleCritical,
    "/": () => byId("search").focus(),
  };
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
});

canvas.addEventListener("wheel", (event) => {
  const place = positionOf(event);
  const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? height : 1;
  if (place.x < gutter && !event.ctrlKey) return;  // over the labels, it scrolls the rows
  event.preventDefault();
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    move((event.deltaX || event.deltaY) * unit);
  } else {
    zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.002)))), place.x);
  }
}, {passive: false});

const positionOf = (event) => {
  const box = canvas.getBoundingClientRect();
  return {x: event.clientX - box.left, y: event.clientY - box.top};
};
const pointers = new Map();
let dragged = 0;

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, positionOf(event));
  dragged = 0;
  const place = positionOf(event);
  if (event.shiftKey && place.x > gutter) band = {from: place.x, to: place.x};
  canvas.style.cursor = "grabbing";
  hideTip();
});

canvas.addEventListener("pointermove", (event) => {
  const place = positionOf(event), before = pointers.get(event.pointerId);
  if (!before) return hover(event, place);
  const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
  dragged += Math.abs(place.x - before.x) + Math.abs(place.y - before.y);
  pointers.set(event.pointerId, place);
  if (others.length) {  // two fingers
    const [other] = others;
    zoom(Math.max(Math.abs(before.x - other.x), 10) / Math.max(Math.abs(place.x - other.x), 10), (place.x + other.x) / 2);
  } else if (band) {
    band.to = Math.max(place.x, gutter);
    requestDraw();
  } else if (dragged > 4) {
    move(before.x - place.x);
    chart.scrollTop += before.y - place.y;
  }
});

const release = (event) => {
  if (!pointers.delete(event.pointerId)) return;
  canvas.style.cursor = "";
  if (band) {
    const {from, to} = band;
    band = null;
    if (Math.abs(to - from) > 4) setView(timeAt(Math.min(from, to)), timeAt(Math.max(from, to)));
    requestDraw();
  } else if (event.type === "pointerup" && dragged <= 4) {
    const place = positionOf(event);
    select(spanAt(place.x, place.y), {open: true});
  }
};
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("dblclick", (event) => { const place = positionOf(event); zoomTo(spanAt(place.x, place.y)); });
canvas.addEventListener("pointerleave", hideTip);

const lookAt = (event) => {
  if (!event.buttons) return;
  const time = overviewTime(positionOf(event).x), half = (view.to - view.from) / 2;
  setView(time - half, time + half);
};
overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); lookAt(event); });
overview.addEventListener("pointermove", lookAt);
overview.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY * 0.002)); }, {passive: false});
chart.addEventListener("scroll", requestDraw);

function summaryOf(span) {
  const lines = [`${markOf(data.statuses[status[span]])} ${data.name[span]}`];
  const running = data.running[span] ? " so far" : "";
  lines.push(`${data.statuses[status[span]]}, ${seconds(end[span] - start[span])}${running}, from ${moment(start[span])}`);
  if (data.waited[span] >= 0.001) lines.push(`waited ${seconds(data.waited[span])}`);
  if (data.tries[span]) lines.push(`${data.tries[span].length} attempts`);
  if (isCritical[span]) lines.push("on the critical path");
  return lines.join("\n");
}

function hover(event, place) {
  const span = spanAt(place.x, place.y);
  if (span !== hovered) { hovered = span; requestDraw(); }
  const tip = byId("tip");
  tip.hidden = span < 0;
  canvas.style.cursor = span < 0 ? "" : "pointer";
  if (span < 0) return;
  tip.textContent = summaryOf(span);
  const right = event.clientX + 16 + tip.offsetWidth > window.innerWidth;
  const below = event.clientY + 16 + tip.offsetHeight > window.innerHeight;
  tip.style.left = `${right ? Math.max(event.clientX - 12 - tip.offsetWidth, 4) : event.clientX + 16}px`;
  tip.style.top = `${below ? event.clientY - 12 - tip.offsetHeight : event.clientY + 16}px`;
}

function hideTip() {
  byId("tip").hidden = true;
  if (hovered >= 0) { hovered = -1; requestDraw(); }
}

// --- details ------------------------------------------------------------------------------------------------------

let recordLines = null;
function recordOf(span) {
  recordLines = recordLines || byId("records").textContent.trim().split("\n");  // a line each, read when it is asked for
  return JSON.parse(recordLines[span]);
}

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function showDetails(span) {
  const record = recordOf(span), panel = byId("details");
  const close = element("button", "×", "close");
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => { select(-1); canvas.focus(); });
  const title = element("h2", data.name[span]);
  panel.replaceChildren(close, title);
  const state = element("dd", `${markOf(data.statuses[status[span]])} ${data.statuses[status[span]]}`);
  state.style.color = colorOf(data.statuses[status[span]]);
  const facts = element("dl");
  facts.append(element("dt", "Status"), state);
  const fact = (name, text) => text && facts.append(element("dt", name), element("dd", text));
  fact("Whole name", wholeName(span));
  fact("Type", record.type);
  fact("Began", moment(start[span]));
  fact("Took", seconds(end[span] - start[span]) + (data.running[span] ? " so far" : ""));
  fact("Waited", data.waited[span] >= 0.001 ? seconds(data.waited[span]) : "");
  fact("Critical path", isCritical[span] ? "yes" : "no");
  fact("Branches", record.branches);
  fact("Item", record.item);
  fact("Taken over from", record.cached_from);
  panel.append(facts);
  if (record.message) section(panel, "Message", element("pre", record.message));
  listing(panel, "Metrics", ["Name", "Value"], record.metrics);
  listing(panel, "Parameters", ["Name", "Value"], record.parameters);
  listing(panel, "Data", ["Name", "Stage", "SHA-256"], record.data);
  listing(panel, "Code", ["Type", "Identifier"], record.code);
  if (record.attempts.length) {
    listing(panel, "Attempts", ["", "Began", "Took", "Status"], 
      record.attempts.map(([number, began, ...others]) =>
        [number, typeof began === "number" ? moment(began) : began, ...others.slice(0, 2)]));
    for (const attempt of record.attempts) if (attempt[4]) panel.append(element("pre", attempt[4]));
  }
  panel.hidden = false;
}

function section(panel, title, content) {
  panel.append(element("h3", title), content);
}

function listing(panel, title, heads, lines) {
  if (!lines.length) return;
  const table = element("table"), head = element("tr");
  for (const text of heads) {
    const cell = element("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  table.append(head);
  for (const line of lines) {
    const row = element("tr");
    row.append(...line.map((text, at) => element("td", text, at ? "value" : "")));
    table.append(row);
  }
  section(panel, title, table);
}

byId("details").addEventListener("keydown", (event) => {
  if (event.key === "Escape") { select(-1); canvas.focus(); }
});

// --- search and filters -------------------------------------------------------------------------------------------

const wanted = new Set();
function applyFilters() {
  const text = byId("search").value.trim().toLowerCase();
  isFiltered = Boolean(text) || wanted.size > 0;
  let found = 0;
  for (let span = 0; span < count; span++) {
    matches[span] = (!text || lowerNames[span].includes(text)) && (!wanted.size || wanted.has(status[span])) ? 1 : 0;
    found += matches[span] * isStep[span];
  }
  byId("found").textContent = isFiltered ? `${found.toLocaleString("en")} of ${stepCount.toLocaleString("en")}` : "";
  requestDraw();
}

function toggleCritical() {
  showsCritical = !showsCritical;
  byId("critical").setAttribute("aria-pressed", String(showsCritical));
  requestDraw();
}

byId("search").addEventListener("input", applyFilters);
byId("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter") nextMatch(event.shiftKey ? -1 : 1);
  if (event.key === "Escape") { event.target.value = ""; applyFilters(); canvas.focus(); }
});
byId("critical").addEventListener("click", toggleCritical);
byId("in").addEventListener("click", () => zoom(0.6));
byId("out").addEventListener("click", () => zoom(1 / 0.6));
byId("fit").addEventListener("click", fit);

data.statuses.forEach((name, state) => {
  const number = status.reduce((sum, one, span) => sum + (one === state) * isStep[span], 0);
  if (!status.includes(state)) return;
  const button = element("button", `${markOf(name)} ${name} ${number.toLocaleString("en")}`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    if (!wanted.delete(state)) wanted.add(state);
    button.setAttribute("aria-pressed", String(wanted.has(state)));
    applyFilters();
  });
  byId("filters").append(button, " ");
});

// --- the frame ----------------------------------------------------------------------------------------------------

function showHeading() {
  byId("run").textContent = data.run_id;
  byId("status").textContent = `${markOf(data.run_status)} ${data.run_status}`;
  byId("status").style.color = colorOf(data.run_status);
  const facts = [data.tag && `tag ${data.tag}`, data.message];
  if (count) {
    facts.unshift(`from ${moment(0)}`, seconds(data.wall),
      `${seconds(data.work)} of work: ${data.parallelism.toFixed(1)} steps at once on average`);
    byId("path").textContent = `Critical path, ${seconds(data.critical_seconds)}: ${data.critical_path.join(" → ")}`;
  } else {
    facts.unshift("No step has begun.");
  }
  if (data.undated.length) facts.push(`${data.undated_count.toLocaleString("en")} without times: ${data.undated.join(", ")}`);
  if (data.problems) facts.push(`${data.problems === 1 ? "1 problem" : `${data.problems} problems`}: \`chunkstore verify\` tells them`);
  byId("facts").textContent = facts.filter(Boolean).join(" · ");
}

function showLegend() {
  const entry = (text, color, className = "") => {
    const swatch = element("span", "", `swatch ${className}`);
    if (color) swatch.style.background = color;
    const whole = element("span");
    whole.append(swatch, text, "\u2003");
    return whole;
  };
  const entries = [];
  data.statuses.forEach((name, state) => {
    entries.push(entry(rank[state] === 4 ? `${name} (taller)` : name, colorOf(name)));
  });
  if (count) {
    entries.push(entry("not on the critical path", colors.pale[Math.max(data.statuses.indexOf("SUCCESS"), 0)]), entry("waiting", "", "waiting"));
  }
  byId("legend").replaceChildren(...entries);
}

function refresh() {
  resize();
  showLegend();
}

new ResizeObserver(resize).observe(chart);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
window.addEventListener("beforeprint", () => { printing = true; refresh(); draw(); });
window.addEventListener("afterprint", () => { printing = false; refresh(); });
showHeading();
refresh();
fit();

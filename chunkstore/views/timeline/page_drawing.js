"use strict";
// Everything that comes from the run is untrusted: it is only ever shown as text, on the canvas or as textContent.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("timeline").textContent);
const count = data.name.length;
const start = Float64Array.from(data.start);
const end = Float64Array.from(data.end);
const status = Uint8Array.from(data.status);
const isStep = Uint8Array.from(data.is_step);  // branches of several steps have bars too, and are not counted
const stepCount = isStep.reduce((sum, one) => sum + one, 0);
const isCritical = Uint8Array.from(data.critical);
const rows = data.rows;
const rowOf = new Int32Array(count);
const orderIn = new Int32Array(count);
rows.forEach((row, at) => row.spans.forEach((span, order) => { rowOf[span] = at; orderIn[span] = order; }));
const wholeName = (span) => data.internal[span].replaceAll("%2E", ".").replaceAll("%25", "%");
const lowerNames = data.name.map((name, span) => `${name}\n${wholeName(span)}`.toLowerCase());
const known = ["SUCCESS", "PROCESSING", "UNKNOWN", "LOST", "FAIL"];
const rank = data.statuses.map((name) => Math.max(known.indexOf(name), 0));
const marks = {SUCCESS: "✔", FAIL: "✘", PROCESSING: "…", LOST: "☠", UNKNOWN: "?"};
const colorOf = (name) => `var(--${known.includes(name) ? name : "UNKNOWN"})`;
const markOf = (name) => marks[name] || "?";

const ROW = 22, BAR = 14, AXIS = 26, INDENT = 14;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const canvas = byId("canvas"), chart = byId("chart"), pen = canvas.getContext("2d");
const overview = byId("overview"), overviewPen = overview.getContext("2d");
const total = Math.max(data.wall, 1e-6);
const view = {from: 0, to: total};
const matches = new Uint8Array(count).fill(1);
let width = 0, height = 0, gutter = 0, colors = {};
let selected = -1, hovered = -1, showsCritical = true, isFiltered = false, printing = false;
let band = null;  // what is dragged over, in pixels

// --- text ---------------------------------------------------------------------------------------------------------

function seconds(value) {
  // What it is rounded to decides about the unit: no unit is told to be full.
  if (Math.round(value * 1e6) < 1000) return `${Math.round(value * 1e6)} µs`;
  if (Math.round(value * 1000) < 1000) return `${Math.round(value * 1000)} ms`;
  if (Math.round(value * 10) < 600) return `${(Math.round(value * 10) / 10).toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(value / 60), hours = Math.round(value / 3600);
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function moment(value) {
  return new Date(data.beginning + value * 1000).toLocaleString([], {dateStyle: "medium", timeStyle: "medium"});
}

const CLOCK = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

function tickStep(least) {
  const roundUp = (value) => {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= value * (1 - 1e-9));
  };
  if (least > 86400) return 86400 * roundUp(least / 86400);
  return least > 1 ? CLOCK.find((step) => step >= least) : roundUp(least);
}

function tickText(value, step) {
  if (!value) return "0 s";
  if (step >= 86400) return `${Math.round(value / 86400)} d`;
  if (step >= 60) {
    const minutes = Math.round(value / 60);
    return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
  }
  if (value >= 60) {
    const digits = step < 1 ? Math.min(Math.ceil(-Math.log10(step)), 6) : 0;
    const rounded = +value.toFixed(digits), rest = (rounded % 60).toFixed(digits);
    return `${Math.floor(rounded / 60)}:${rest.padStart(digits ? digits + 3 : 2, "0")}`;
  }
  if (step >= 1) return `${Math.round(value)} s`;
  if (step < 0.001 && Math.round(value * 1e6) < 1000) return `${Math.round(value * 1e6)} µs`;
  if (step < 0.1 && Math.round(value * 1e6) < 1e6) return `${+(value * 1000).toFixed(3)} ms`;
  return `${value.toFixed(Math.min(Math.ceil(-Math.log10(step)), 6))} s`;
}

// --- drawing ------------------------------------------------------------------------------------------------------

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  colors = {};
  for (const name of ["page", "raised", "line", "text", "quiet", "accent"]) colors[name] = color(name);
  colors.solid = data.statuses.map((name) => color(name) || color("UNKNOWN"));
  colors.pale = colors.solid.map((solid, state) => mixed(solid, colors.page, rank[state] === 4 ? 0.55 : 0.34));
}

function mixed(one, other, share) {
  const channel = (hex, at) => parseInt(hex.slice(at, at + 2), 16);
  return `rgb(${[1, 3, 5].map((at) => Math.round(channel(one, at) * share + channel(other, at) * (1 - share))).join()})`;
}

function resize() {
  const ratio = window.devicePixelRatio || 1;
  width = chart.clientWidth;
  height = printing ? AXIS + Math.min(rows.length, 400) * ROW + 4 : chart.clientHeight;
  gutter = Math.max(90, Math.min(280, Math.round(width * 0.26)));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  byId("space").style.height = `${Math.max(0, AXIS + rows.length * ROW + 8 - height)}px`;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  overview.style.width = `${width}px`;
  overview.width = Math.round(width * ratio);
  overview.height = Math.round(overview.clientHeight * ratio);
  overviewPen.setTransform(ratio, 0, 0, ratio, 0, 0);
  readColors();
  requestDraw();
}

let isAsked = false;
function requestDraw() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => { isAsked = false; draw(); });
}

const xOf = (time) => gutter + (time - view.from) / (view.to - view.from) * (width - gutter);
const timeAt = (x) => view.from + (x - gutter) / (width - gutter) * (view.to - view.from);

function draw() {
  const top = printing ? 0 : chart.scrollTop;
  pen.fillStyle = colors.page;
  pen.fillRect(0, 0, width, height);
  pen.font = FONT;
  pen.textBaseline = "middle";
  drawGrid();
  const first = Math.max(0, Math.floor(top / ROW));
  const last = Math.min(rows.length, Math.ceil((top + height - AXIS) / ROW));
  pen.save();
  pen.beginPath();
  pen.rect(gutter, AXIS, width - gutter, height - AXIS);
  pen.clip();
  for (let at = first; at < last; at++) drawBars(rows[at], AXIS + at * ROW - top);
  outline(hovered, top, 1);
  outline(selected, top, 2);
  pen.restore();
  pen.fillStyle = colors.page;
  pen.fillRect(0, AXIS, gutter, height - AXIS);
  pen.save();
  pen.beginPath();
  pen.rect(0, AXIS, gutter - 4, height - AXIS);
  pen.clip();
  for (let at = first; at < last; at++) drawLabel(rows[at], AXIS + at * ROW - top);
  pen.restore();
  pen.fillStyle = colors.line;
  pen.fillRect(gutter - 1, 0, 1, height);
  pen.fillRect(0, AXIS - 1, width, 1);
  drawOverview();
  if (band) {
    pen.globalAlpha = 0.25;
    pen.fillStyle = colors.accent;
    pen.fillRect(Math.min(band.from, band.to), AXIS, Math.abs(band.to - band.from), height - AXIS);
    pen.globalAlpha = 1;
  }
}

// The whole run above the chart, and which part of it the chart shows.
const overviewX = (time) => gutter + (time / total + 0.01) / 1.02 * (width - gutter);
const overviewTime = (x) => ((x - gutter) / (width - gutter) * 1.02 - 0.01) * total;

function drawOverview() {
  const tall = overview.clientHeight, wide = (overviewX(total) - overviewX(0)) / Math.max(data.at_once.length, 1);
  overviewPen.fillStyle = colors.page;
  overviewPen.fillRect(0, 0, width, tall);
  overviewPen.fillStyle = colors.quiet;
  overviewPen.font = FONT;
  overviewPen.textBaseline = "middle";
  if (data.most_at_once) overviewPen.fillText(cut(`at once, up to ${data.most_at_once}`, gutter - 16), 10, tall / 2);
  overviewPen.fillStyle = colors.accent;
  overviewPen.globalAlpha = 0.55;
  data.at_once.forEach((number, part) => {
    const high = number / data.most_at_once * (tall - 8);
    overviewPen.fillRect(overviewX(0) + part * wide, tall - 2 - high, wide + 0.3, high);
  });
  const from = Math.max(overviewX(view.from), gutter), to = Math.min(overviewX(view.to), width - 1);
  overviewPen.globalAlpha = 0.6;
  overviewPen.fillStyle = colors.page;
  overviewPen.fillRect(gutter, 0, from - gutter, tall);
  overviewPen.fillRect(to, 0, width - to, tall);
  overviewPen.globalAlpha = 1;
  overviewPen.strokeStyle = colors.accent;
  overviewPen.strokeRect(from + 0.5, 1.5, Math.max(to - from - 1, 2), tall - 3);
}

function drawGrid() {
  const step = tickStep((view.to - view.from) / Math.max((width - gutter) / 90, 1));
  const number = Math.max(Math.ceil(view.from / step - 1e-9), 0);
  for (let at = number; at * step <= view.to; at++) {
    const x = Math.round(xOf(at * step));
    pen.fillStyle = colors.line;
    pen.globalAlpha = 0.6;
    pen.fillRect(x, AXIS - 6, 1, height);
    pen.globalAlpha = 1;
    pen.fillStyle = colors.quiet;
    if (x < width - 30) pen.fillText(tickText(at * step, step), x + 4, AXIS / 2);
  }
}

function firstSpanIn(row, time) {
  let low = 0, high = row.spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (end[row.spans[middle]] < time) low = middle + 1; else high = middle;
  }
  return low;
}

// Spans narrower than a pixel are drawn together, in the color of what went worst; so a row costs as much as it is wide.
function drawBars(row, y) {
  const scale = (width - gutter) / (view.to - view.from);
  const top = y + (ROW - BAR) / 2;
  let pixel = -1, worst = -1;
  const failures = [];
  for (let at = firstSpanIn(row, view.from); at < row.spans.length; at++) {
    const span = row.spans[at];
    if (start[span] > view.to) break;
    const x = gutter + (start[span] - view.from) * scale;
    const wide = (end[span] - start[span]) * scale;
    if (wide >= 1.5) {
      if (pixel >= 0) dab(pixel, top, worst);
      pixel = -1;
      drawBar(span, row, x, wide, top);
      continue;
    }
    if (rank[status[span]] === 4 && matches[span]) failures.push(span);
    if (pixel === Math.floor(x)) {
      if (weight(span) > weight(worst)) worst = span;
    } else {
      if (pixel >= 0) dab(pixel, top, worst);
      pixel = Math.floor(x);
      worst = span;
    }
  }
  if (pixel >= 0) dab(pixel, top, worst);
  for (const span of failures) fillBar(gutter + (start[span] - view.from) * scale - 1, top, 3, span, status[span]);
}

const weight = (span) => matches[span] * 16 + rank[status[span]] * 2 + isCritical[span];

function fillOf(span, state) {
  return !showsCritical || isCritical[span] ? colors.solid[state] : colors.pale[state];
}

// Failures are told from others by more than their color: they are taller.
function fillBar(x, top, wide, span, state) {
  const taller = rank[state] === 4 ? 2 : 0;
  pen.fillStyle = fillOf(span, state);
  pen.fillRect(x, top - taller, wide, BAR + 2 * taller);
}

function dab(x, top, span) {
  pen.globalAlpha = matches[span] ? 1 : 0.15;
  fillBar(x, top, 1.5, span, status[span]);
  pen.globalAlpha = 1;
}

function drawBar(span, row, x, wide, top) {
  pen.globalAlpha = matches[span] ? 1 : 0.15;
  const tries = data.tries[span];
  if (!row.lane && data.waited[span] > 0) drawWaiting(xOf(start[span] - data.waited[span]), x, top);
  if (tries) {
    drawWaiting(x, x + wide, top);
    for (const [from, to, state] of tries) {
      const left = xOf(from);
      fillBar(left, top, Math.max(xOf(to) - left, 2), span, state);
    }
  } else {
    fillBar(x, top, Math.max(wide - (wide > 4 ? 1 : 0), 1), span, status[span]);
    if (data.running[span]) drawOpenEnd(x + wide, top);
  }
  if (wide > 30 && !tries && (row.lane || row.inner || wide > 60)) drawName(span, x, wide, top);
  pen.globalAlpha = 1;
}

function drawWaiting(from, to, top) {
  pen.fillStyle = colors.quiet;
  const left = Math.max(from, gutter), right = Math.min(to, width);
  for (let x = left; x < right; x += 4) pen.fillRect(x, top + BAR / 2, 2, 1);
}

function drawOpenEnd(x, top) {
  pen.beginPath();
  pen.moveTo(x, top);
  pen.lineTo(x + 6, top + BAR / 2);
  pen.lineTo(x, top + BAR);
  pen.fill();
}

function drawName(span, x, wide, top) {
  const left = Math.max(x, gutter) + 5;
  const room = Math.min(x + wide, width) - left - 5;
  if (room < 20) return;
  pen.fillStyle = !showsCritical || isCritical[span] ? colors.page : colors.text;
  pen.fillText(cut(data.name[span], room), left, top + BAR / 2 + 0.5);
}

function cut(text, room) {
  const most = Math.max(Math.floor(room / 6.6), 1);
  if (text.length <= most && (text.length * 9 < room || pen.measureText(text).width <= room)) return text;
  let kept = text.slice(0, most + 4);
  while (kept && pen.measureText(`${kept}…`).width > room) kept = kept.slice(0, -1);
  return `${kept}…`;
}

function drawLabel(row, y) {
  const x = 10 + Math.min(row.depth * INDENT, gutter / 2);
  const middle = y + ROW / 2 + 0.5;
  if (row.inner) return;
  if (row.lane) {
    pen.fillStyle = colors.quiet;
    pen.fillText(cut(`lane ${row.lane} (${row.spans.length.toLocaleString("en")})`, gutter - x - 8), x, middle);
    return;
  }
  const state = status[row.owner];
  pen.fillStyle = colors.solid[state];
  pen.fillText(markOf(data.statuses[state]), x, middle);
  pen.fillStyle = matches[row.owner] ? colors.text : colors.quiet;
  if (showsCritical && isCritical[row.owner]) pen.font = `600 ${FONT}`;
  pen.fillText(cut(data.name[row.owner], gutter - x - 24), x + 16, middle);
  pen.font = FONT;
}

function outline(span, top, line) {
  if (span < 0) return;
  const y = AXIS + rowOf[span] * ROW - top + (ROW - BAR) / 2;
  const x = xOf(start[span]);
  pen.strokeStyle = line > 1 ? colors.accent : colors.text;
  pen.lineWidth = line;
  pen.strokeRect(x - 2, y - 2, Math.max(xOf(end[span]) - x, 2) + 4, BAR + 4);
}

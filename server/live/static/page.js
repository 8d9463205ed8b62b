// The live page: asks for what is new every few seconds, keeps half an hour of it, draws.
"use strict";

const UNREACHABLE_MS = 4000;
const GAP_STEPS = 2.5; // points further apart than this have nothing between them
const PLOT_HEIGHT = 150;
const FRESH = 300; // seconds in which an error is red
const LEAST_SPAN = 300; // seconds that a chart shows, however young the server is

// ---- numbers and times, with their units

const digits = (value, most) => value.toLocaleString("en", { maximumFractionDigits: most });
const few = value => digits(value, value >= 100 ? 0 : value >= 10 ? 1 : 2);
const shown = write => value => (value === null || value === undefined ? "–" : write(value));

const UNITS = {
  rate: shown(value => `${few(value)}/s`),
  seconds: shown(value =>
    value === 0 ? "0" : value < 0.001 ? `${few(value * 1e6)} µs` : value < 1 ? `${few(value * 1e3)} ms` : `${few(value)} s`),
  bytes: shown(value => (value === 0 ? "0" : value < 1e9 ? `${few(value / 1e6)} MB` : `${few(value / 1e9)} GB`)),
  plain: shown(few),
};

const clock = (seconds, options) => new Date(seconds * 1000).toLocaleTimeString("en-GB", options);
const toMinute = seconds => clock(seconds, { hour: "2-digit", minute: "2-digit" });

const moment = seconds => (now - seconds < 43200 ? clock(seconds) : `${age(now - seconds)} ago`);

function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${few(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

// ---- what is shown: charts with [figure, name, colour] of each line

const CHARTS = [
  { title: "Answers", unit: "rate", stacked: true, lines: [
    ["ok", "OK", "--c1"], ["refused", "refused by a rule", "--c2"], ["faulty", "not accepted (4xx)", "--c4"], ["failed", "failed (5xx)", "--bad"]] },
  { title: "Time of a call", note: "parsed to written, estimated", unit: "seconds", lines: [
    ["p50", "p50", "--c1"], ["p99", "p99", "--c2"]] },
  { title: "Where the time goes", note: "mean of a call", unit: "seconds", stacked: true, lines: [
    ["decide", "decide (rule, commit)", "--c1"], ["sign", "sign", "--c2"], ["claim", "claim a seat", "--c3"],
    ["encode", "encode", "--c4"], ["facts", "token", "--c5"], ["parse", "parse", "--c6"], ["write", "write", "--c8"], ["other", "other", "--c7"]] },
  { title: "Made together", note: "mean of a batch", unit: "plain", lines: [
    ["batch", "calls in a commit", "--c1"], ["signed", "signatures", "--c2"]] },
  { title: "Stale rounds", note: "decided again", unit: "rate", lines: [
    ["stale", "stale verdicts", "--c1"], ["contended", "batches under the lock", "--c2"]] },
  { title: "Floating seats", note: "calls", unit: "rate", lines: [
    ["seat_claimed", "claimed", "--c1"], ["seat_renewed", "renewed", "--c3"], ["seat_released", "released", "--c6"],
    ["seat_promoted", "promoted", "--c4"], ["seat_refused", "refused", "--c2"], ["seat_by_table", "by the table, without Valkey", "--bad"]] },
  { title: "Seats held", note: "all hosts, counted now and then", unit: "plain", lines: [["held", "held", "--c1"]] },
  { title: "Signatures", unit: "rate", lines: [
    ["by_eight_lanes", "eight lanes", "--c1"], ["by_openssl", "OpenSSL", "--c2"]] },
  { title: "Queue", note: "calls waiting and under way", unit: "plain", lines: [
    ["waiting", "waiting", "--c1"]] },
  { title: "Workers and engines", unit: "plain", stepped: true, lines: [
    ["ready", "workers ready", "--c1"], ["wanted", "workers wanted", "--c7"], ["postgres", "PostgreSQL", "--c3"], ["valkey", "Valkey", "--c2"]] },
  { title: "CPU of the workers", note: "cores", unit: "plain", lines: [["cpu", "used", "--c1"]] },
  { title: "Memory of the workers", unit: "bytes", lines: [
    ["memory", "all", "--c1"], ["largest", "the largest", "--c2"]] },
];

const sum = (last, ...names) => names.reduce((total, name) => total + (last[name] || 0), 0);
const upOrDown = up => (up === undefined ? ["–", ""] : up ? ["up", "good"] : ["down", "bad"]);

// Each: name, [text, class], a smaller line.
function tiles(last, state, [trouble]) {
  const signers = Object.entries(state.signers || {}).filter(([, count]) => count > 0).map(([name]) => name.replace("_", " "));
  const ready = last.ready === undefined ? ["–", ""]
    : [`${few(last.ready)} of ${few(last.wanted)}`, last.ready < last.wanted ? "bad" : "good"];
  const log = last.log_days;
  return [
    ["Answers", [UNITS.rate(last.ok === undefined ? null : sum(last, "ok", "refused", "faulty", "failed")), ""], `${UNITS.rate(last.ok)} OK`],
    ["Failed (5xx)", [UNITS.rate(last.failed), last.failed > 0 ? "bad" : ""], "busy, unavailable, bug"],
    ["Time, p50", [UNITS.seconds(last.p50), ""], `p99 ${UNITS.seconds(last.p99)}`],
    ["Workers ready", ready, `${UNITS.bytes(last.memory)} in all`],
    ["PostgreSQL", upOrDown(state.postgres), log === null || log === undefined ? "" : `log has room for ${few(log)} days`],
    ["Valkey", upOrDown(state.valkey), state.valkey === false ? "the table decides on seats" : ""],
    ["Queue", [UNITS.plain(last.waiting), ""], `room for ${UNITS.plain(last.places)}`],
    ["Seats held", [UNITS.plain(last.held), ""], `${UNITS.rate(last.seat_refused)} refused`],
    ["Signer", [signers.join(", ") || "–", ""], `${UNITS.rate(last.by_eight_lanes === undefined ? null : sum(last, "by_eight_lanes", "by_openssl"))}`],
    ["Last error", trouble ? [moment(trouble.last), now - trouble.last < FRESH ? "bad" : ""] : ["none", ""], trouble ? trouble.what : ""],
  ];
}

// ---- elements

const byId = id => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function marker(colour) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [name, value] of [["cx", 5], ["cy", 5], ["r", 5]]) circle.setAttribute(name, value);
  svg.setAttribute("viewBox", "0 0 10 10");
  svg.setAttribute("aria-hidden", "true");
  svg.style.fill = `var(${colour})`;
  svg.append(circle);
  return svg;
}

const colourOf = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- charts

let kept = { at: [] }; // seconds, and the values of each figure; null where nothing is known
let step = 5, span = 1800, ahead = 0, now = Date.now() / 1000; // by the server's clock, which is `ahead` of ours
const plots = [];

// Times and values for a chart, with a hole where points are missing, and the indices of the points in `kept`.
function holed(lines) {
  const times = [], index = [];
  kept.at.forEach((at, place) => {
    if (place && at - kept.at[place - 1] > GAP_STEPS * step) {
      times.push(kept.at[place - 1] + step);
      index.push(-1);
    }
    times.push(at);
    index.push(place);
  });
  const values = lines.map(([name, , colour]) => {
    const found = index.map(place => (place < 0 || !kept[name] ? null : kept[name][place] ?? null));
    return colour === "--bad" && !found.some(Boolean) ? found.map(() => null) : found; // no red line for nothing
  });
  return { times, values, index };
}

// Each line becomes the sum of itself and those after it, so that the first is drawn over everything and the last in front.
function piled(values) {
  const below = [];
  for (let line = values.length - 1; line >= 0; line--) {
    below[line] = values[line].map((value, place) => {
      const rest = below[line + 1]?.[place] ?? null;
      return value === null && rest === null ? null : value + rest;
    });
  }
  return below;
}

// A value between two holes is a line of no length: give it a point.
function alone(plot, line) {
  const values = plot.data[line];
  return values.flatMap((value, place) =>
    value !== null && (values[place - 1] ?? null) === null && (values[place + 1] ?? null) === null ? [place] : []);
}

function makePlot(chart) {
  const names = chart.lines.map(([name]) => name);
  const figures = chart.lines.map(() => element("b"));
  const where = element("small");
  const place = element("div", { className: "plot", tabIndex: 0 });
  place.setAttribute("role", "img");
  const note = chart.note ? ` · ${chart.note}` : "";
  const figure = element("figure", {},
    element("figcaption", {}, chart.title, element("small", { textContent: note }), " ", where),
    place,
    element("ul", { className: "legend" }, ...chart.lines.map(([, name, colour], line) =>
      element("li", {}, marker(colour), `${name} `, figures[line]))));
  byId("charts").append(figure);

  const write = UNITS[chart.unit];
  const axis = { stroke: () => colourOf("--muted"), font: "12px system-ui, sans-serif", ticks: { show: false } };
  const plot = new uPlot({
    width: Math.max(place.clientWidth, 100),
    height: PLOT_HEIGHT,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    cursor: { sync: { key: "time" }, y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: {
      x: { time: true, range: () => [Math.max(now - span, Math.min(kept.at[0] ?? now, now - LEAST_SPAN)), now] },
      y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.08 : 1] },
    },
    axes: [
      { ...axis, grid: { show: false }, space: 48, size: 26, values: (_plot, splits) => splits.map(toMinute) },
      { ...axis, grid: { stroke: () => colourOf("--grid"), width: 1 }, size: 60, space: 30,
        values: (_plot, splits) => splits.map(value => (value === 0 ? "0" : chart.stepped && value % 1 ? "" : write(value))) },
    ],
    series: [{}, ...chart.lines.map(([, , colour]) => ({
      stroke: () => colourOf(colour),
      width: chart.stacked ? 0 : 1.75,
      fill: chart.stacked ? () => colourOf(colour) : undefined,
      paths: chart.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      points: { show: true, size: 4, width: 0, fill: () => colourOf(colour), filter: alone },
    }))],
    hooks: { setCursor: [() => tell()] },
  }, [[], ...names.map(() => [])], place);

  let drawn = { index: [] };

  // The values at the cursor, or else the newest.
  function tell() {
    const pointed = drawn.index[plot.cursor.idx ?? -1] ?? -1;
    const at = pointed < 0 ? kept.at.length - 1 : pointed;
    const texts = names.map(name => write(at < 0 ? null : kept[name]?.[at]));
    figures.forEach((each, line) => { each.textContent = texts[line]; });
    where.textContent = pointed < 0 ? "" : `at ${clock(kept.at[at])}`;
    place.setAttribute("aria-label", `${chart.title}, ${pointed < 0 ? "now" : `at ${clock(kept.at[at])}`}: `
      + chart.lines.map(([, name], line) => `${name} ${texts[line]}`).join(", "));
  }

  place.addEventListener("keydown", event => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    const last = drawn.index.length - 1;
    const next = Math.min(Math.max((plot.cursor.idx ?? last) + (event.key === "ArrowLeft" ? -1 : 1), 0), last);
    if (next >= 0) plot.setCursor({ left: plot.valToPos(plot.data[0][next], "x"), top: 0 });
  });
  place.addEventListener("blur", () => plot.setCursor({ left: -10, top: -10 }));
  new ResizeObserver(() => plot.setSize({ width: Math.max(place.clientWidth, 100), height: PLOT_HEIGHT })).observe(place);

  plots.push({
    draw() {
      drawn = holed(chart.lines);
      plot.setData([drawn.times, ...(chart.stacked ? piled(drawn.values) : drawn.values)]);
      tell();
    },
    recolour: () => plot.redraw(),
  });
}

// ---- what comes, and what is made of it

// Take in points. What was kept from the first of them on is replaced: another life of the server may have another clock.
function keep(series) {
  if (!series.at.length) return;
  const first = kept.at.findIndex(at => at >= series.at[0]);
  const stays = first < 0 ? kept.at.length : first;
  const from = kept.at.slice(0, stays).filter(at => at < now - span).length;
  const values = (all, name) => all[name] || all.at.map(() => null);
  const names = new Set([...Object.keys(kept), ...Object.keys(series)]);
  kept = Object.fromEntries([...names].map(name => [name, [...values(kept, name).slice(from, stays), ...values(series, name)]]));
}

function row(...cells) {
  return element("tr", {}, ...cells.map((text, place) =>
    element(place ? "td" : "th", place ? { className: "number", textContent: text } : { scope: "row", textContent: text })));
}

function fill(table, rows, none) {
  const body = byId(table).tBodies[0];
  const empty = element("tr", {}, element("td", { colSpan: 4, className: "muted", textContent: none }));
  body.replaceChildren(...(rows.length ? rows : [empty]));
}

function show(told) {
  const latest = kept.at.length - 1;
  const last = latest < 0 ? {} : Object.fromEntries(Object.entries(kept).map(([name, values]) => [name, values[latest]]));
  byId("tiles").replaceChildren(...tiles(last, told.state, told.troubles).map(([name, [text, kind], more]) =>
    element("div", { className: kind }, element("dt", { textContent: name }),
      element("dd", { textContent: text }, element("small", { textContent: more || " " })))));
  const { ready, draining } = told.state;
  condition(draining ? "Draining" : ready === undefined ? "Starting" : ready ? "Ready" : "Not ready",
    draining || ready === false ? "bad" : ready ? "good" : "");
  byId("uptime").textContent = `up ${age(told.now - told.began)} · ${clock(told.now)}`;
  byId("quiet").hidden = (kept.ok || []).some((_, place) => ["ok", "refused", "faulty", "failed"].some(name => kept[name][place]));
  fill("troubles", told.troubles.map(each =>
    row(each.what, each.times ? few(each.times) : `for ${age(each.last - each.first + step)}`, moment(each.first), moment(each.last))), "None.");
  fill("refusals", told.refusals.map(each => row(each.what, few(each.times), clock(each.last))), "Nothing.");
}

function condition(text, kind) {
  const place = byId("condition");
  if (place.textContent === text) return; // said once, not every few seconds
  place.textContent = text;
  place.className = `condition ${kind}`;
  document.title = kind === "good" ? "Keyturn" : `${text} · Keyturn`;
}

let version, reached = now, timer;

async function ask() {
  clearTimeout(timer);
  try {
    const since = kept.at.length ? kept.at[kept.at.length - 1] : 0;
    const answer = await fetch(`live.json?since=${since}`, { cache: "no-store", signal: AbortSignal.timeout(UNREACHABLE_MS) });
    if (!answer.ok) throw new Error(answer.status);
    const told = await answer.json();
    if (version && version !== told.version) return void location.reload();
    ({ version, now, step, kept: span } = told);
    ahead = now - Date.now() / 1000;
    reached = now;
    keep(told.series);
    document.body.classList.remove("away");
    show(told);
  } catch (error) {
    now = Date.now() / 1000 + ahead;
    document.body.classList.add("away");
    condition(`Not reachable since ${clock(reached)}`, "bad");
    byId("uptime").textContent = `Asking again every ${step} s.`;
    if (!(error instanceof TypeError || error.name === "TimeoutError" || error.name === "AbortError")) console.warn(error);
  }
  for (const plot of plots) plot.draw();
  timer = setTimeout(ask, step * 1000);
}

CHARTS.forEach(makePlot);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(plot => plot.recolour()));
document.addEventListener("visibilitychange", () => document.hidden || ask());
ask();

/** The list of jobs: newest first, searched and filtered by the service, live. */

import { debounced, fill, h, say } from "./dom.js";
import { ago, count, moment, number } from "./format.js";
import { connection } from "./notice.js";
import { bar, isOver, status, title } from "./progress.js";
import { valueOf } from "./series.js";
import { sparkline } from "./sparkline.js";

const PAGE = 50;
const POLL = 4_000;
const POINTS = 48;
const LOSSES = ["train/loss", "eval/loss"];
const STATUSES = ["running", "pending", "queued", "completed", "error", "cancelled", "cancel_requested", "compressing", "uploading"];

/** The view of all jobs: `{element, apply(view), close()}`. */
export function jobsView({ source, view: first, change, signedOut }) {
  let view = first;
  const rows = new Map(); // id → {element, job, update()}
  const selected = new Set();
  const life = { closed: false, abort: new AbortController(), matched: 0, loaded: 0, busy: false };
  const project = h("span", { className: "project" });
  const tally = h("p", { className: "tally", role: "status" });
  const search = h("input", { type: "search", placeholder: "Search name, id, model, tag", "aria-label": "Search jobs", "aria-keyshortcuts": "/", value: view.search, oninput: debounced(() => change({ search: search.value }), 180) });
  const filter = h("select", { "aria-label": "Status", onchange: () => change({ status: filter.value }) }, h("option", { value: "" }, "Any status"), STATUSES.map((word) => h("option", { value: word }, word.replace("_", " "))));
  const body = h("tbody", {});
  const heads = [["", "check"], ["Job", "what"], ["Model", "model"], ["Status", "state-cell"], ["Progress", "how"], ["Loss", "n loss"], ["Trend", "trend"], ["Created", "when"]];
  const table = h("table", { className: "jobs" }, h("caption", { className: "unseen" }, "Jobs, newest first"), h("thead", {}, h("tr", {}, heads.map(([word, name]) => h("th", { scope: "col", className: name }, word || h("span", { className: "unseen" }, "Choose"))))), body);
  const state = h("div", { className: "state" });
  const foot = h("div", { className: "foot" });
  const compare = h("button", { type: "button", className: "primary", onclick: () => change({ jobs: [...selected], search: "", status: "" }, true) }, "Compare");
  const chosen = h("span", {});
  const dock = h("div", { className: "dock", role: "region", "aria-label": "Chosen jobs", hidden: true }, chosen, compare, h("button", { type: "button", className: "quiet", onclick: () => choose(null) }, "Clear"));
  const element = h(
    "main",
    { className: "list-view" },
    h("header", { className: "head" }, h("div", { className: "title" }, h("h1", {}, "Jobs"), h("p", { className: "about" }, project, tally)), h("div", { className: "filters" }, search, filter, signedOut)),
    table, state, foot, dock,
  );

  // ---------------------------------------------------------------- rows

  function row(job) {
    const box = h("input", { type: "checkbox", "aria-label": `Choose ${title(job)}`, onchange: () => choose(job.id, box.checked) });
    const cells = { what: h("td", { className: "what" }), model: h("td", { className: "model" }), state: h("td", { className: "state-cell" }), how: h("td", { className: "how" }), loss: h("td", { className: "n loss" }, "–"), trend: h("td", { className: "trend" }), when: h("td", { className: "when" }) };
    const one = { job, box, step: null, element: h("tr", { "data-id": job.id }, h("td", { className: "check" }, box), ...Object.values(cells)) };
    one.update = (now) => {
      one.job = now;
      fill(cells.what, h("a", { href: `/?job=${encodeURIComponent(now.id)}` }, title(now)), h("small", {}, title(now) === now.id ? "" : `${now.id} `, (now.tags ?? []).map((tag) => h("span", { className: "tag" }, tag))));
      say(cells.model, now.model ?? "");
      cells.model.title = now.model ?? "";
      fill(cells.state, status(now));
      fill(cells.how, bar(now, one.step, false));
      const created = new Date(now.created_at);
      fill(cells.when, h("time", { dateTime: now.created_at, title: moment(created) }, ago((Date.now() - created) / 1000)));
    };
    one.curve = (points) => {
      one.step = points.step;
      say(cells.loss, points.values.length ? number(points.last) : "–");
      fill(cells.trend, sparkline(points.values));
      fill(cells.how, bar(one.job, one.step, false));
      one.drawn = true;
    };
    one.update(job);
    inSight.observe(one.element);
    return one;
  }

  function choose(id, on) {
    if (id === null) selected.clear();
    else if (on) selected.add(id);
    else selected.delete(id);
    for (const one of rows.values()) one.box.checked = selected.has(one.job.id);
    dock.hidden = selected.size === 0;
    say(chosen, `${count(selected.size)} chosen`);
    compare.textContent = selected.size === 1 ? "Open" : "Compare";
  }

  function place(jobs, from) {
    const order = jobs.map((job) => {
      const known = rows.get(job.id);
      if (known) known.update(job);
      else rows.set(job.id, row(job));
      return rows.get(job.id).element;
    });
    // Only what is not in its place is moved, so that focus and scroll position stay.
    order.forEach((one, i) => {
      const here = body.children[from + i];
      if (here !== one) body.insertBefore(one, here ?? null);
    });
  }

  // ---------------------------------------------------------------- the curves in sight

  const wanted = new Set();
  const drawWanted = debounced(async () => {
    const ids = [...wanted].slice(0, 100);
    wanted.clear();
    if (!ids.length || life.closed) return;
    try {
      const answer = await source.query({ jobs: ids, keys: LOSSES, resolution: POINTS }, { signal: life.abort.signal });
      for (const id of ids) if (answer[id]?.metrics) rows.get(id)?.curve(points(answer[id].metrics));
    } catch {
      // The next poll asks again.
    }
  }, 30);

  const inSight = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const one = rows.get(target.dataset.id);
      if (!one) continue;
      one.visible = isIntersecting;
      if (isIntersecting && !one.drawn) want(one);
    }
  });

  function want(one) {
    wanted.add(one.job.id);
    drawWanted();
  }

  // ---------------------------------------------------------------- reading

  async function read(offset, limit) {
    return source.jobs({ search: view.search, status: view.status, limit, offset: offset || null }, { signal: life.abort.signal });
  }

  async function anew() {
    life.abort.abort();
    life.abort = new AbortController();
    const { jobs, matched } = await read(0, PAGE);
    for (const one of rows.values()) inSight.unobserve(one.element);
    rows.clear();
    body.replaceChildren();
    place(jobs, 0);
    Object.assign(life, { matched, loaded: jobs.length });
    tell();
  }

  async function more() {
    if (life.busy || life.loaded >= life.matched) return;
    life.busy = true;
    try {
      const { jobs, matched } = await read(life.loaded, PAGE);
      place(jobs.filter(({ id }) => !rows.has(id)), body.childElementCount);
      life.loaded += jobs.length;
      life.matched = jobs.length ? matched : life.loaded;
      tell();
    } finally {
      life.busy = false;
    }
  }

  /** The newest jobs again; those further down change no more, or are asked for one by one. */
  async function refresh() {
    if (document.hidden || life.busy) return;
    try {
      const { jobs, matched } = await read(0, Math.max(Math.min(life.loaded, 100), PAGE));
      if (life.closed) return;
      const added = jobs.filter(({ id }) => !rows.has(id)).length;
      place(jobs, 0);
      Object.assign(life, { matched, loaded: Math.max(life.loaded + added, jobs.length) });
      for (const one of rows.values()) if (one.visible && !isOver(one.job)) want(one);
      connection("list", true);
      tell();
    } catch (error) {
      if (error.name !== "AbortError") connection("list", error.status !== undefined);
    }
  }

  function tell() {
    const filtered = Boolean(view.search || view.status);
    say(tally, `${count(life.matched)} ${life.matched === 1 ? "job" : "jobs"}${filtered ? " found" : ""}`);
    table.hidden = life.matched === 0;
    state.hidden = life.matched > 0;
    if (life.matched === 0) fill(state, filtered ? nothingFound(change) : firstSteps());
    say(foot, life.loaded < life.matched ? `${count(life.loaded)} of ${count(life.matched)} shown` : "");
  }

  const atEnd = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more().then(() => { atEnd.unobserve(foot); atEnd.observe(foot); }, () => null), { rootMargin: "600px" });

  function key(event) {
    if (event.key === "/" && !event.target.closest("input, select, textarea")) {
      event.preventDefault();
      search.focus();
    }
  }

  async function begin() {
    filter.value = view.status;
    document.title = "tunelog";
    source.whoami().then((caller) => say(project, caller.project_name ?? ""), () => null);
    await anew();
    atEnd.observe(foot);
    life.timer = setInterval(refresh, POLL);
  }

  addEventListener("keydown", key);
  return {
    element,
    ready: begin(),
    apply(next) {
      view = next;
      if (document.activeElement !== search) search.value = view.search;
      filter.value = view.status;
      anew().catch((error) => error.name !== "AbortError" && connection("list", error.status !== undefined));
    },
    close() {
      life.closed = true;
      clearInterval(life.timer);
      life.abort.abort();
      inSight.disconnect();
      atEnd.disconnect();
      removeEventListener("keydown", key);
      connection("list", true);
    },
  };
}

/** The loss's points: of training where it has them, else of evaluation. */
function points(rows) {
  const key = LOSSES.find((one) => rows.some((row) => one in row));
  const values = key ? rows.map((row) => valueOf(row[key])).filter((value) => value !== null) : [];
  const step = rows.reduce((most, row) => Math.max(most, row["train/global_step"]), -1);
  return { values, last: values.at(-1), step: step < 0 ? null : step };
}

function nothingFound(change) {
  return [h("p", {}, "No job is like that."), h("button", { type: "button", onclick: () => change({ search: "", status: "" }) }, "Show all")];
}

function firstSteps() {
  const code = (text) => h("pre", {}, h("code", {}, text));
  return [
    h("h2", {}, "Record a first run"),
    h("p", {}, "Where the training runs, say where this service is. The key is the one that the first start of ", h("code", {}, "tunelog serve"), " printed; ", h("code", {}, "tunelog keys create"), " makes another."),
    code(`export TUNELOG_URL=${location.origin}\nexport TUNELOG_API_KEY=tl-…`),
    h("p", {}, "Then three lines record it, and it is here as it trains:"),
    code('import tunelog\n\nwith tunelog.init(model="Qwen/Qwen3-0.6B", name="first") as job:\n    for step in range(1, 101):\n        job.log({"loss": 2.0 / step}, step=step)'),
    h("p", { className: "quietly" }, "Or see a small model train: ", h("code", {}, "make demo"), "."),
  ];
}

/** A board: the charts of one job or of several, one x axis for all, and what moves them. */

import { Chart } from "./chart.js";
import { Curves, budget } from "./curves.js";
import { debounced, fill, h, painted } from "./dom.js";
import { chartsOf, isMetric } from "./names.js";
import { addRow } from "./series.js";
import { toolbar } from "./toolbar.js";
import { connection, notice } from "./notice.js";

const FRAME = 8; // milliseconds of drawing before the next frame gets its turn
const LIVE = 120; // milliseconds between drawings of what arrives
const STREAMS = 3; // a browser has six connections to a host, and other tabs want some
const NAP = 3_000; // milliseconds between connections of the other jobs
const RETRY = 3_000;
const AGAIN = 12_000; // milliseconds at least between readings anew of a chart that has grown

export class Board {
  /**
   * @param given `{mode, ids, source, view, change(patch, push), label(id), colours, empty}`.
   */
  constructor(given) {
    Object.assign(this, given);
    this.curves = new Curves(this.source, this.ids);
    this.charts = new Map();
    this.events = [];
    this.summary = null;
    this.dirty = new Set();
    this.streams = [];
    this.abort = new AbortController();
    this.state = h("p", { className: "state", role: "status" }, "Reading the metrics …");
    this.grid = h("div", { className: "groups" });
    this.toolbar = toolbar(this);
    this.element = h("div", { className: "board" }, this.toolbar.element, this.state, this.grid);
    this.watch = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: "200px" });
    this.resized = new ResizeObserver(() => this.redrawAll());
    this.resized.observe(this.grid);
    this.theme = matchMedia("(prefers-color-scheme: dark)");
    this.rethemed = () => [...this.charts.values()].forEach((chart) => chart.recolour());
    this.theme.addEventListener("change", this.rethemed);
    this.keyed = (event) => this.key(event);
    addEventListener("keydown", this.keyed);
    this.appear = () => document.hidden || this.redrawAll();
    document.addEventListener("visibilitychange", this.appear);
  }

  close() {
    this.abort.abort();
    this.watch.disconnect();
    this.resized.disconnect();
    this.theme.removeEventListener("change", this.rethemed);
    removeEventListener("keydown", this.keyed);
    document.removeEventListener("visibilitychange", this.appear);
    for (const stream of this.streams) stream.close();
    for (const id of this.ids) connection(`stream ${id}`, true);
    for (const chart of this.charts.values()) {
      this.curves.cancel(chart);
      chart.plot?.destroy();
    }
  }

  // ---------------------------------------------------------------- begin

  /** Read the draft and show the charts; what else there is to ask waits for the first of them. */
  async begin() {
    this.offer(await this.curves.draft(this.abort.signal));
    this.ready = true;
    this.drawFirst();
    await painted(); // whatever is asked now would take the time of drawing
    await this.complete();
    if (this.mode === "job") this.offerRest();
  }

  /** Read the other rows too, if they are few. */
  async complete() {
    this.offer(await this.curves.complete(this.abort.signal));
    for (const chart of this.charts.values()) {
      if (this.curves.whole) this.curves.lend(chart);
      this.refresh(chart);
    }
  }

  /** Draw the first chart at once: what is in sight, no observer has told yet. */
  drawFirst() {
    const chart = this.grid.querySelector(".chart")?.chart;
    if (!chart) return;
    chart.visible = true;
    chart.update();
  }

  /** Charts for metrics that the draft's rows happen not to have. */
  async offerRest() {
    const names = await this.source.metrics(this.ids[0], { signal: this.abort.signal }).catch(() => []);
    if (!this.abort.signal.aborted) this.offer(names);
  }

  /** Show charts for these names, where they are not there yet. */
  offer(keys) {
    const known = new Set([...(this.names ?? []), ...[...keys].filter(isMetric)]);
    if (this.names?.size === known.size) return;
    this.names = known;
    const specs = chartsOf(known);
    const grown = [];
    for (const spec of specs) {
      const chart = this.charts.get(spec.name);
      if (!chart) this.charts.set(spec.name, new Chart(spec, this));
      else if (chart.spec.keys.length !== spec.keys.length) {
        chart.spec.keys = spec.keys;
        grown.push(chart);
      }
    }
    this.arrange(specs);
    for (const chart of grown) this.refresh(chart);
  }

  arrange(specs = this.specs) {
    this.specs = specs;
    const wanted = this.view.metrics.trim().toLowerCase();
    const shown = specs.filter(({ name }) => !wanted || name.toLowerCase().includes(wanted));
    const groups = Map.groupBy ? Map.groupBy(shown, ({ group }) => group) : grouped(shown);
    fill(
      this.grid,
      [...groups].map(([group, members]) =>
        h("section", { className: "group", "aria-label": group || "Metrics" }, group ? h("h3", {}, group) : null, h("div", { className: "charts" }, members.map(({ name }) => this.charts.get(name).element))),
      ),
    );
    this.tellState(shown.length, specs.length);
    for (const { name } of shown) {
      const chart = this.charts.get(name);
      if (chart.watched) continue;
      chart.watched = true;
      this.watch.observe(chart.element);
      this.curves.lend(chart);
    }
    this.toolbar.update();
  }

  tellState(shown, all) {
    this.state.hidden = shown > 0;
    if (shown > 0) return;
    if (all > 0) this.state.textContent = `None of the ${all} metrics is called like “${this.view.metrics}”.`;
    else fill(this.state, this.empty());
  }

  // ---------------------------------------------------------------- the view

  /** The view has changed: draw it, and read what it needs. */
  apply(view) {
    const before = this.view;
    this.view = view;
    if (!this.ready) return;
    if (before.metrics !== view.metrics) this.arrange();
    const range = before.from !== view.from || before.to !== view.to || (before.x !== view.x && view.from !== null);
    const anew = range || before.points !== view.points || before.superseded !== view.superseded;
    for (const chart of this.charts.values()) {
      if (anew) chart.stale = true;
      if (anew && chart.visible) this.refresh(chart);
    }
    this.toolbar.update();
    this.redrawAll();
    this.changed?.();
  }

  get kind() {
    return this.view.x === "epoch" && !this.curves.epochsKnown ? "step" : this.view.x;
  }

  toggle(list, name) {
    const now = this.view[list];
    this.change({ [list]: now.includes(name) ? now.filter((one) => one !== name) : [...now, name] });
  }

  widen(name) {
    this.change({ wide: this.view.wide === name ? null : name });
  }

  zoom(from, to) {
    if (from === this.view.from && to === this.view.to) return;
    this.change({ from, to }, true);
  }

  /** What places a job's rows on the x axis. */
  placer(job) {
    const origin = this.curves.origin(job);
    const epochs = this.curves.epochs.get(job);
    return { step: (step) => step, time: (_, time) => time, relative: (_, time) => time - origin, epoch: (step) => epochs?.at(step) ?? NaN }[this.kind];
  }

  axisKey(job) {
    return `${this.kind} ${this.kind === "relative" ? this.curves.origin(job) : ""} ${this.kind === "epoch" ? this.curves.version : ""}`;
  }

  /** Events, checkpoints and attempts on the axis. */
  marks() {
    const key = `${this.axisKey(this.ids[0])} ${this.events.length}`;
    if (this.markKey !== key || this.markEvents !== this.events) {
      this.markKey = key;
      this.markEvents = this.events;
      const place = this.placer(this.ids[0]);
      this.placed = this.mode === "job" ? this.events.map((event) => ({ ...event, x: place(event.step, event.time) })).filter(({ x, step }) => Number.isFinite(x) && (step > 0 || this.kind === "time" || this.kind === "relative")) : [];
    }
    return this.placed;
  }

  setEvents(events) {
    this.events = events;
    this.redrawAll();
  }

  setAttempts(job, attempts) {
    this.curves.attempts ??= new Map();
    const before = this.curves.attempts.get(job)?.length ?? 0;
    this.curves.attempts.set(job, attempts);
    this.toolbar.update();
    if (this.view.superseded && attempts.length !== before) this.reread();
  }

  setSummary(summary) {
    this.summary = summary;
    this.offer(Object.keys(summary.metrics));
    this.redrawAll();
  }

  get restarted() {
    return [...(this.curves.attempts?.values() ?? [])].some((attempts) => attempts.length > 1);
  }

  key(event) {
    if (event.key !== "Escape" || this.view.from === null || event.target.closest?.("dialog, details[open], input")) return;
    this.zoom(null, null);
  }

  /** Put the cursor of every chart in sight at an x; `from` is where it was moved. */
  point(x, from) {
    for (const chart of this.charts.values()) if (chart.visible && chart.plot) chart.follow(x, from);
  }

  // ---------------------------------------------------------------- charts in sight

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const chart = this.charts.get(target.dataset.chart);
      chart.visible = isIntersecting;
      if (!isIntersecting) continue;
      this.redraw(chart);
      if (chart.stale || chart.sampling === "draft") this.refresh(chart);
    }
  }

  /** Read a chart's own rows, if the draft is not all there is. */
  refresh(chart) {
    chart.stale = !chart.visible || this.curves.completing;
    if (chart.stale || !this.curves.jobs.size) return;
    if (this.curves.whole && !this.view.superseded) {
      this.curves.cancel(chart);
      chart.superseded = [];
      this.curves.lend(chart);
      chart.sampling = "all";
      this.redraw(chart);
      return;
    }
    chart.readAt = performance.now();
    this.curves.load(chart, { ...this.view, x: this.kind }, (one) => this.drawn(one), (error) => this.failed(error));
  }

  drawn(chart) {
    notice("read", null);
    this.redraw(chart);
    this.changed?.();
  }

  failed(error) {
    if (error.status === undefined) {
      connection("read", false);
      setTimeout(() => this.abort.signal.aborted || (connection("read", true), this.reread()), RETRY);
    } else notice("read", `The metrics could not be read: ${error.message}`);
  }

  /** Everything anew: what was read before is no longer so. */
  reread = debounced(async () => {
    try {
      this.offer(await this.curves.draft(this.abort.signal));
      await this.complete();
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    }
  }, 300);

  redrawAll() {
    for (const chart of this.charts.values()) if (chart.visible) this.redraw(chart);
  }

  /** Draw soon: a few milliseconds of it a frame, so that none is late. */
  redraw(chart) {
    this.dirty.add(chart);
    if (document.hidden || this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => this.frame());
  }

  frame() {
    this.drawing = false;
    const begun = performance.now();
    for (const chart of this.dirty) {
      if (performance.now() - begun > FRAME) break;
      this.dirty.delete(chart);
      chart.update();
    }
    if (this.dirty.size) this.redraw(this.dirty.values().next().value);
  }

  // ---------------------------------------------------------------- live

  /** Follow these jobs, `on(job, name, data)` being told of all but rows. */
  follow(ids, on) {
    const cursor = (id) => this.curves.jobs.get(id)?.cursor ?? null;
    for (const [index, id] of ids.entries()) {
      const told = {
        event: (name, data, at) => (name === "snapshot" ? this.arrived(id, data, at) : this.told(id, name, data, on)),
        state: (state) => {
          if (state !== "paused") connection(`stream ${id}`, state === "live");
          this.element.dataset.live = state;
        },
        ended: (status) => {
          connection(`stream ${id}`, true);
          on(id, "ended", { status });
        },
      };
      this.streams.push(this.source.follow(id, cursor(id), told, index < STREAMS ? 0 : NAP));
    }
  }

  told(id, name, data, on) {
    if (name === "superseded") this.reread();
    on(id, name, data);
  }

  arrived(job, row, id) {
    this.curves.arrived(job, id, row);
    this.toShow ??= setTimeout(() => this.showArrived(), LIVE);
    for (const chart of this.charts.values()) {
      if (!chart.append(job, row, id, addRow)) continue;
      chart.grown = true;
    }
    for (const key in row) if (isMetric(key) && !this.names?.has(key)) this.newNames = true;
  }

  showArrived() {
    this.toShow = undefined;
    if (this.newNames) {
      this.newNames = false;
      this.offer(this.curves.keys());
    }
    for (const chart of this.charts.values()) {
      if (!chart.grown) continue;
      chart.grown = false;
      for (const [id, one] of this.curves.jobs) if (!chart.data.has(id) && chart.spec.keys.some((key) => one.series.has(key))) chart.take(id, one);
      if (chart.visible) this.redraw(chart);
      this.thin(chart);
    }
    this.changed?.();
  }

  /** A chart that has grown to twice its budget is read anew. */
  thin(chart) {
    const jobs = this.ids.length;
    const few = this.view.points === "all" || this.curves.whole || chart.points[0] < 2 * jobs * budget(jobs);
    if (few || performance.now() - (chart.readAt ?? -AGAIN) < AGAIN) return;
    this.refresh(chart);
  }
}

function grouped(specs) {
  const groups = new Map();
  for (const spec of specs) groups.set(spec.group, [...(groups.get(spec.group) ?? []), spec]);
  return groups;
}

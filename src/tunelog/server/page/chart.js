/** A chart: its heading with the values, its plot, what it says of its points, and its tools. */

import { fill, h, say, swatch } from "./dom.js";
import { count, number, place } from "./format.js";
import { split } from "./names.js";
import { Plot } from "./plot.js";
import { Projection, nearest, summaryOf } from "./series.js";
import { begun, smooth } from "./smoothing.js";
import { save } from "./downloads.js";

const HEIGHT = 208;
const WIDE = 440;
const MOST_IN_TIP = 12;
const FEW = 8; // lines whose values are beside the heading
const NEAR_MARK = 7; // pixels

export class Chart {
  /**
   * @param spec `{name, group, title, keys}` of `names.js`.
   * @param board what it belongs to: its view, jobs, and what places rows on the axis.
   */
  constructor(spec, board) {
    this.spec = spec;
    this.board = board;
    this.data = new Map(); // job id → {series, matched, returned, cursor, shared}
    this.superseded = []; // [{job, attempt, series}]
    this.lines = [];
    this.projections = new Map();
    this.plot = null;
    this.cursor = null;
    this.visible = false;
    this.sampling = "draft";
    this.element = this.build();
    this.element.chart = this; // for whoever looks from the console
  }

  // ---------------------------------------------------------------- elements

  build() {
    const { name, title } = this.spec;
    this.legend = h("div", { className: "legend" });
    this.note = h("p", { className: "note" });
    this.host = h("div", { className: "plot" });
    this.tip = h("div", { className: "tip", hidden: true });
    this.where = h("div", { className: "where", hidden: true });
    this.dots = h("div", { className: "dots" });
    this.spoken = h("p", { className: "spoken", "aria-live": "polite" });
    this.logButton = this.tool("log", "Logarithmic y axis", () => this.board.toggle("log", name));
    this.wideButton = this.tool("wide", "Over the whole width", () => this.board.widen(name));
    this.reset = h("button", { type: "button", className: "quiet reset", hidden: true, title: "Or double click the chart, or press Escape", onclick: () => this.board.zoom(null, null) }, "Reset zoom");
    return h(
      "figure",
      { className: "chart", tabIndex: 0, "data-chart": name, "aria-label": `Chart of ${name}`, onkeydown: (event) => this.key(event), onblur: () => this.unpoint(), onpointerenter: () => { this.hovered = true; this.keyed = false; }, onpointerleave: () => (this.hovered = false) },
      h("figcaption", {}, h("h4", { title: name }, title), this.legend, h("div", { className: "tools" }, this.reset, this.logButton, this.wideButton, this.menu())),
      this.host,
      this.note,
      this.spoken,
    );
  }

  tool(word, title, onclick) {
    return h("button", { type: "button", className: "quiet", title, "aria-pressed": "false", "aria-label": `${word}: ${title}, ${this.spec.name}`, onclick }, word);
  }

  menu() {
    const item = (word, kind) => h("button", { type: "button", onclick: () => { menu.open = false; save(this, kind); } }, word);
    const menu = h(
      "details",
      { className: "menu", onkeydown: (event) => event.key === "Escape" && menu.open && (event.stopPropagation(), (menu.open = false)) },
      h("summary", { "aria-label": `save: Download ${this.spec.name}`, title: "Download" }, "save"),
      h("div", {}, item("CSV, every point", "csv"), item("JSON, every point", "json"), item("PNG, as seen", "png")),
    );
    menu.addEventListener("focusout", (event) => { if (!menu.contains(event.relatedTarget)) menu.open = false; });
    return menu;
  }

  // ---------------------------------------------------------------- data

  /** Take a job's rows; those that it had are gone. */
  take(job, entry) {
    this.data.set(job, entry);
  }

  get complete() {
    return [...this.data.values()].every((entry) => entry.returned === entry.matched);
  }

  /** How many points there are and how many are drawn. */
  get points() {
    let [drawn, all] = [0, 0];
    for (const entry of this.data.values()) {
      let here = 0;
      for (const key of this.spec.keys) here += entry.series.get(key)?.length ?? 0;
      drawn += entry.shared ? here : entry.returned;
      all += entry.shared && entry.returned === entry.matched ? here : entry.matched;
    }
    return [drawn, all];
  }

  /** Append a live row, unless what was read already holds it; answers whether there is more to draw. */
  append(job, row, id, add) {
    const entry = this.data.get(job);
    if (!entry || entry.shared) return this.spec.keys.some((key) => key in row);
    if (id !== null && entry.cursor !== null && !later(id, entry.cursor)) return false;
    const mine = {};
    let found = false;
    for (const key of this.spec.keys) {
      if (key in row) {
        mine[key] = row[key];
        found = true;
      }
    }
    if (!found) return false;
    entry.matched += 1;
    entry.returned += 1;
    add(entry.series, { ...mine, timestamp: row.timestamp, "train/global_step": row["train/global_step"] });
    return true;
  }

  // ---------------------------------------------------------------- drawing

  /** Draw what there is; anew when the axes changed. */
  update() {
    const { view } = this.board;
    const options = this.options();
    const stale = this.plot && JSON.stringify(options) !== JSON.stringify(this.plot.options);
    if (stale) {
      this.plot.destroy();
      this.plot = null;
    }
    this.element.classList.toggle("wide", view.wide === this.spec.name);
    this.logButton.setAttribute("aria-pressed", String(options.log));
    this.wideButton.setAttribute("aria-pressed", String(view.wide === this.spec.name));
    this.reset.hidden = view.from === null;
    if (this.visible) {
      if (this.plot === null) {
        this.plot = new Plot(this.host, options, {
          zoom: (from, to) => this.board.zoom(from, to),
          reset: () => this.board.zoom(null, null),
          cursor: (x) => this.pointed(x),
        });
        this.plot.u.over.append(this.dots, this.where, this.tip);
      }
      this.plot.resize(this.host.clientWidth, options.height);
      this.buildLines();
      const range = view.from === null ? null : [view.from, view.to];
      this.plot.show(this.lines, this.board.marks(), range);
    }
    this.tell();
    this.read();
  }

  options() {
    const { view } = this.board;
    return {
      kind: this.board.kind,
      log: view.log.includes(this.spec.name),
      height: view.wide === this.spec.name ? WIDE : HEIGHT,
    };
  }

  buildLines() {
    const { view, mode } = this.board;
    const lines = [];
    for (const { job, attempt, series } of view.superseded ? this.superseded : []) {
      if (!view.hidden.includes(job)) this.add(lines, job, series, { faint: true, dash: [2, 3], attempt });
    }
    for (const [job, entry] of this.data) {
      if (mode === "compare" && view.hidden.includes(job)) continue;
      this.add(lines, job, entry.series, {});
    }
    this.lines = lines;
  }

  add(lines, job, series, style) {
    const { view, mode, colours } = this.board;
    for (const [index, key] of this.spec.keys.entries()) {
      const one = series.get(key);
      if (!one || (mode === "job" && view.hidden.includes(key))) continue;
      const projection = this.project(one, job);
      const isEval = split(key).kind === "eval" && this.spec.keys.length > 1;
      const lone = split(key).kind === "eval";
      lines.push({
        owner: job,
        key,
        index,
        xs: projection.xs,
        ys: projection.ys,
        length: projection.length,
        smooth: style.faint ? null : this.smoothed(projection),
        colour: mode === "job" ? (lone ? "eval" : index < 2 ? "train" : (index + 1) % 8) : colours.get(job),
        dash: mode === "compare" && isEval ? [5, 3] : undefined,
        dots: lone,
        lost: style.faint ? null : this.lost(key, one, projection),
        ...style,
      });
    }
  }

  /** The first value that is not finite, if the summary knows of it and the sample left it out. */
  lost(key, series, projection) {
    const step = this.board.summary?.metrics[key]?.first_nonfinite_step ?? null;
    if (step === null || series.length === 0) return null;
    const at = nearest(series.steps, series.length, step);
    if (series.steps[at] === step && !Number.isFinite(series.values[at])) return null;
    const x = this.board.kind === "step" ? step : projection.xs[Math.min(at, projection.length - 1)];
    return { xs: Float64Array.of(x), ys: Float64Array.of(NaN), length: 1 };
  }

  project(series, job) {
    const axis = this.board.axisKey(job);
    let known = this.projections.get(series);
    if (!known || known.axis !== axis) {
      known = { axis, projection: new Projection(series, this.board.placer(job)), smooth: null };
      this.projections.set(series, known);
    }
    known.unsorted = !known.projection.extend() || known.unsorted;
    known.projection.known = known;
    return known.projection;
  }

  smoothed(projection) {
    const { smooth: weight } = this.board.view;
    const { known } = projection;
    if (!weight) return (known.smooth = null);
    let kept = known.smooth;
    if (!kept || kept.weight !== weight || known.unsorted || kept.out.length < projection.xs.length) {
      kept = { weight, out: new Float64Array(projection.xs.length), state: begun(), length: 0 };
      known.smooth = kept;
      known.unsorted = false;
    }
    smooth(projection.ys, kept.length, projection.length, weight, kept.out, kept.state);
    kept.length = projection.length;
    return kept.out;
  }

  /** Forget projections of series that are gone. */
  prune() {
    const live = new Set([...this.data.values(), ...this.superseded].flatMap((entry) => [...entry.series.values()]));
    for (const series of this.projections.keys()) if (!live.has(series)) this.projections.delete(series);
  }

  recolour() {
    this.plot?.recolour();
  }

  // ---------------------------------------------------------------- words

  tell() {
    const [drawn, all] = this.points;
    const parts = [];
    if (this.data.size) parts.push(`${count(drawn)} of ${count(all)} points`);
    const bad = this.nonfinite();
    if (bad) parts.push(bad);
    if (this.options().log) {
      const below = this.lines.reduce((sum, line) => sum + line.ys.subarray(0, line.length).reduce((n, v) => n + (v <= 0), 0), 0);
      if (below) parts.push(`${count(below)} at or below 0 not drawn`);
    }
    say(this.note, parts.join(" · "));
    this.note.classList.toggle("loud", Boolean(bad));
    this.element.dataset.points = drawn;
    this.element.dataset.sampling = this.sampling;
  }

  /** How many values are not finite, as far as is known. */
  nonfinite() {
    let known = 0;
    const seen = { NaN: 0, "+∞": 0, "−∞": 0 };
    for (const entry of this.data.values()) {
      for (const key of this.spec.keys) {
        const one = entry.series.get(key);
        if (!one) continue;
        for (let i = 0; i < one.length; i += 1) {
          const value = one.values[i];
          if (!Number.isFinite(value)) seen[Number.isNaN(value) ? "NaN" : value > 0 ? "+∞" : "−∞"] += 1;
        }
      }
    }
    const found = seen.NaN + seen["+∞"] + seen["−∞"];
    if (this.board.view.from === null) for (const key of this.spec.keys) known += this.board.summary?.metrics[key]?.nonfinite ?? 0;
    const words = Object.entries(seen).filter(([, n]) => n).map(([word, n]) => `${word} × ${count(n)}`);
    if (known > found) words.push(`${count(known)} not finite in all`);
    const atLeast = found > known && !this.complete; // of what was left out, nothing is known
    return words.join(", ") + (atLeast ? " at least" : "");
  }

  // ---------------------------------------------------------------- the cursor

  /** The cursor is at an x, or nowhere: all charts of the board follow. */
  pointed(x) {
    this.board.point(x, this);
  }

  follow(x, from) {
    if (from !== this || this.keyed) this.plot?.point(x);
    this.cursor = x;
    this.read();
  }

  unpoint() {
    if (!this.keyed) return;
    this.pointed(null);
    this.keyed = false;
  }

  /** The values at the cursor, or the last ones. */
  read() {
    const { mode } = this.board;
    const values = this.values();
    if (mode === "job") this.readLegend(values);
    else this.readFew(values);
    const at = this.cursor !== null && this.plot !== null;
    this.where.hidden = !at;
    this.tip.hidden = true;
    if (!at) {
      fill(this.dots);
      return;
    }
    const { u } = this.plot;
    const left = u.valToPos(this.cursor, "x");
    const mark = this.board.marks().filter((one) => Math.abs(u.valToPos(one.x, "x") - left) < NEAR_MARK);
    const anchor = values.find(({ i }) => i >= 0);
    const x = anchor && mode === "job" ? anchor.line.xs[anchor.i] : this.cursor;
    say(this.where, place(this.board.kind, this.board.kind === "step" ? Math.round(x) : x));
    this.where.style.transform = `translateX(${Math.round(Math.min(Math.max(left, 40), u.over.clientWidth - 40))}px) translateX(-50%)`;
    this.placeDots(values, u);
    if (this.hovered || this.keyed) this.readTip(values, mark, left, u);
  }

  /** `[{line, i, value, smoothed}]` of the lines at the cursor; of their ends without one. */
  values() {
    return this.lines
      .filter((line) => !line.faint)
      .map((line) => {
        const i = this.cursor === null ? line.length - 1 : nearest(line.xs, line.length, this.cursor);
        return { line, i, value: i < 0 ? null : line.ys[i], smoothed: i < 0 || !line.smooth ? null : line.smooth[i] };
      });
  }

  readLegend(values) {
    const { view } = this.board;
    const shape = JSON.stringify([this.spec.keys, view.hidden, [...this.data.values()].map((e) => this.spec.keys.map((k) => e.series.has(k)))]);
    if (this.legendShape !== shape) {
      this.legendShape = shape;
      this.legendValues = new Map();
      fill(this.legend, this.spec.keys.map((key, index) => this.legendItem(key, index)));
    }
    for (const { line, value, smoothed } of values) {
      const element = this.legendValues.get(line.key);
      if (element) say(element, number(smoothed ?? value));
    }
  }

  /** The values of a few jobs beside the heading; their colours say whose they are. */
  readFew(values) {
    const few = values.length <= FEW ? values : [];
    while (this.legend.childElementCount < few.length) this.legend.append(h("span", { className: "item" }, h("i", { "aria-hidden": "true" }), h("b", {})));
    while (this.legend.childElementCount > few.length) this.legend.lastChild.remove();
    few.forEach(({ line, value, smoothed }, index) => {
      const item = this.legend.children[index];
      const kind = split(line.key).kind || line.key;
      item.firstChild.className = `swatch c${line.colour} line ${line.dash ? "dashed" : ""}`;
      item.title = `${this.board.label(line.owner)}, ${kind}`;
      say(item.lastChild, number(smoothed ?? value));
    });
  }

  legendItem(key, index) {
    const { view } = this.board;
    const kind = split(key).kind;
    const value = h("b", {});
    this.legendValues.set(key, value);
    const hidden = view.hidden.includes(key);
    if (this.spec.keys.length === 1) return h("span", { className: "item", title: key }, value);
    const colour = kind === "eval" ? "eval" : index < 2 ? "train" : (index + 1) % 8;
    return h(
      "button",
      { type: "button", className: "item", title: `${key}: click to ${hidden ? "show" : "hide"}`, "aria-pressed": String(!hidden), onclick: () => this.board.toggle("hidden", key) },
      swatch(colour, "line"),
      kind || key,
      " ",
      value,
    );
  }

  placeDots(values, u) {
    const shown = values.filter(({ value, smoothed }) => Number.isFinite(smoothed ?? value)).slice(0, MOST_IN_TIP);
    while (this.dots.childElementCount < shown.length) this.dots.append(h("i", {}));
    while (this.dots.childElementCount > shown.length) this.dots.lastChild.remove();
    shown.forEach(({ line, i, value, smoothed }, index) => {
      const dot = this.dots.children[index];
      const x = u.valToPos(line.xs[i], "x");
      const y = u.valToPos(smoothed ?? value, "y");
      const sight = x >= 0 && x <= u.over.clientWidth && y >= 0 && y <= u.over.clientHeight;
      dot.className = `c${line.colour}`;
      dot.hidden = !sight;
      dot.style.transform = `translate(${x}px, ${y}px)`;
    });
  }

  readTip(values, marks, left, u) {
    const { board } = this;
    const rows = board.mode === "compare" ? this.tipRows(values) : [];
    fill(
      this.tip,
      marks.slice(0, 4).map((mark) => h("p", { className: `mark ${mark.level ?? ""}` }, mark.label)),
      rows.length ? h("table", {}, h("tbody", {}, rows)) : null,
    );
    this.tip.hidden = !this.tip.childElementCount;
    const right = left > u.over.clientWidth / 2;
    this.tip.style.left = right ? "auto" : `${Math.round(left + 12)}px`;
    this.tip.style.right = right ? `${Math.round(u.over.clientWidth - left + 12)}px` : "auto";
  }

  tipRows(values) {
    const { board } = this;
    const known = values.filter(({ i }) => i >= 0);
    const order = (entry) => { const v = entry.smoothed ?? entry.value; return Number.isNaN(v) ? Infinity : v; };
    known.sort((a, b) => order(b) - order(a));
    const several = new Set(known.map(({ line }) => line.key)).size > 1;
    const rows = known.slice(0, MOST_IN_TIP).map(({ line, value, smoothed }) =>
      h("tr", {}, h("td", {}, swatch(line.colour, line.dash ? "line dashed" : "line")), h("td", {}, board.label(line.owner), several ? h("small", {}, ` ${split(line.key).kind || line.key}`) : null), h("td", { className: "n" }, number(smoothed ?? value))),
    );
    if (known.length > rows.length) rows.push(h("tr", {}, h("td", {}), h("td", { colSpan: 2 }, `and ${known.length - rows.length} more`)));
    return rows;
  }

  // ---------------------------------------------------------------- the keyboard

  key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ArrowLeft: () => this.move(-1, event), ArrowRight: () => this.move(1, event), Home: () => this.move(-Infinity), End: () => this.move(Infinity), "+": () => this.scale(0.5), "=": () => this.scale(0.5), "-": () => this.scale(2), 0: () => this.board.zoom(null, null), l: () => this.logButton.click(), w: () => this.wideButton.click() }[event.key];
    if (!act || !this.plot) return;
    event.preventDefault();
    act();
  }

  /** Move the cursor by points of the line that has most of them. */
  move(by, event) {
    const line = this.lines.reduce((most, one) => (most === null || one.length > most.length ? one : most), null);
    if (!line || !line.length) return;
    const [x0, x1] = this.plot.xRange();
    const from = nearest(line.xs, line.length, Math.max(x0, line.xs[0]));
    const to = nearest(line.xs, line.length, Math.min(x1, line.xs[line.length - 1]));
    const jump = event?.shiftKey ? Math.max(1, Math.round((to - from) / 20)) : 1;
    const begin = this.cursor === null ? (by > 0 ? from - 1 : to + 1) : nearest(line.xs, line.length, this.cursor);
    const next = by === -Infinity ? from : by === Infinity ? to : Math.min(Math.max(begin + by * jump, from), to);
    this.keyed = true;
    this.pointed(line.xs[next]);
    const said = this.values().filter(({ i }) => i >= 0).slice(0, 4).map(({ line: one, value }) => `${this.board.mode === "job" ? one.key : this.board.label(one.owner)} ${number(value)}`);
    say(this.spoken, `${place(this.board.kind, line.xs[next])}: ${said.join(", ")}`);
  }

  scale(factor) {
    const [x0, x1] = this.plot.xRange();
    const middle = this.cursor ?? (x0 + x1) / 2;
    const [from, to] = [middle - (middle - x0) * factor, middle + (x1 - middle) * factor];
    const { view } = this.board;
    if (factor > 1 && view.from === null) return;
    this.board.zoom(from, to);
  }

  /** `{last, min, max, nonfinite}` of a job's first series here. */
  summary(job) {
    const entry = this.data.get(job);
    const key = this.spec.keys.find((one) => entry?.series.has(one));
    return key === undefined ? null : { key, ...summaryOf(entry.series.get(key)) };
  }
}

/** Whether one cursor comes after another; both are digits. */
export function later(a, b) {
  return a.length === b.length ? a > b : a.length > b.length;
}

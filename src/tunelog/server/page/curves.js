/**
 * The rows behind a board's charts.
 *
 * First a draft: every metric of every job, some rows each, evenly chosen, which is quick. Then
 * every row, if they are few; else, for each chart in sight, its own rows at full budget, chosen so
 * that no spike is lost (`minmax`), of the range in sight.
 */

import { later } from "./chart.js";
import { Epochs, addRow, seriesOf } from "./series.js";

const PATIENCE = 400; // milliseconds of waiting for minmax, until an even sample is drawn meanwhile
const FEW = 3_000; // rows that are as well drawn as chosen from
const AT_ONCE = 2;
const KEPT = 20_000; // live rows kept for charts whose rows are still on their way
const MARGIN = 0.02;

/** How many rows of each job are asked for at first: a few thousand in all; as in `drafts.py`. */
function draftOf(jobs) {
  return Math.min(200, Math.max(40, Math.floor(2400 / jobs)));
}

/**
 * How many rows of each job a chart asks for, fewer where many jobs share it.
 *
 * `minmax` answers between half of it and all: about a thousand.
 */
export function budget(jobs) {
  return Math.round(Math.min(1500, Math.max(160, 8000 / jobs)));
}

export class Curves {
  constructor(source, ids) {
    this.source = source;
    this.ids = ids;
    this.jobs = new Map(); // id → {series, origin, cursor, matched, returned}
    this.errors = new Map();
    this.epochs = new Map();
    this.buffer = []; // [{job, id, row}]
    this.version = 0;
    this.completing = true; // until what is read at first is there
    this.waiting = [];
    this.running = 0;
  }

  /** Ask for the draft; answers the keys that it holds. */
  draft(signal) {
    return this.ask({ jobs: this.ids, resolution: draftOf(this.ids.length) }, signal);
  }

  /** Ask for every row, if they are few and the draft left some out; answers the keys. */
  async complete(signal) {
    this.completing = true;
    try {
      if (this.source.offline || !this.size || this.size > FEW || this.whole) return this.keys();
      return await this.ask({ jobs: this.ids }, signal);
    } finally {
      this.completing = false;
    }
  }

  /** How many rows there are. */
  get size() {
    return [...this.jobs.values()].reduce((sum, job) => sum + job.matched, 0);
  }

  /** Whether they are all here, and not too many to be drawn, which live rows may have made them. */
  get whole() {
    return (this.size <= 2 * FEW || this.source.offline) && [...this.jobs.values()].every((job) => job.returned === job.matched);
  }

  async ask(body, signal) {
    const answer = await this.source.query(body, { signal });
    for (const id of this.ids) {
      const one = answer[id];
      if (!one || one.error) {
        this.errors.set(id, one?.error?.message ?? "no answer");
        continue;
      }
      this.errors.delete(id);
      const series = seriesOf(one.metrics);
      const origin = one.metrics.length ? one.metrics[0].timestamp / 1e9 : null;
      this.jobs.set(id, { series, origin, cursor: one.cursor ?? null, matched: one.matched ?? one.metrics.length, returned: one.returned ?? one.metrics.length, shared: true });
      this.epochs.set(id, new Epochs(series));
    }
    this.version += 1;
    return this.keys();
  }

  keys() {
    return [...new Set([...this.jobs.values()].flatMap((job) => [...job.series.keys()]))];
  }

  /** The earliest first row of the jobs, from which wall time and relative time are told apart. */
  origin(id) {
    return this.jobs.get(id)?.origin ?? 0;
  }

  get epochsKnown() {
    return [...this.epochs.values()].some((one) => one.known);
  }

  // ---------------------------------------------------------------- live

  /** Keep a live row, unless what was read already holds it. */
  arrived(job, id, row) {
    let known = this.jobs.get(job);
    if (!known) this.jobs.set(job, (known = { series: new Map(), origin: null, cursor: null, matched: 0, returned: 0, shared: true }));
    if (id !== null && known.cursor !== null && !later(id, known.cursor)) return;
    known.origin ??= row.timestamp / 1e9;
    addRow(known.series, row);
    known.matched += 1;
    known.returned += 1;
    if (id !== null) known.cursor = id;
    this.buffer.push({ job, id, row });
    if (this.buffer.length > KEPT) this.buffer.splice(0, KEPT / 2);
    const epochs = this.epochs.get(job);
    if (!epochs?.known) this.epochs.set(job, new Epochs(known.series));
  }

  // ---------------------------------------------------------------- a chart's rows

  /** Give a chart the draft's rows. */
  lend(chart) {
    for (const [id, job] of this.jobs) {
      if (!this.errors.has(id) && chart.spec.keys.some((key) => job.series.has(key))) chart.take(id, job);
    }
    chart.sampling = "draft";
    chart.prune();
  }

  /** Ask for a chart's own rows, in turn; `done` is called whenever there is something new to draw. */
  load(chart, view, done, failed) {
    this.cancel(chart);
    const job = { chart, view: { ...view }, done, failed, abort: new AbortController() };
    chart.loading = job;
    chart.element.setAttribute("aria-busy", "true");
    this.waiting.push(job);
    this.next();
  }

  cancel(chart) {
    chart.loading?.abort.abort();
    chart.loading = null;
    this.waiting = this.waiting.filter((one) => one.chart !== chart);
  }

  next() {
    while (this.running < AT_ONCE && this.waiting.length) {
      this.waiting.sort((a, b) => b.chart.visible - a.chart.visible);
      const job = this.waiting.shift();
      this.running += 1;
      this.fetch(job)
        .catch((error) => error.name !== "AbortError" && job.failed(error))
        .finally(() => {
          this.running -= 1;
          if (job.chart.loading === job) {
            job.chart.loading = null;
            job.chart.element.removeAttribute("aria-busy");
          }
          this.next();
        });
    }
  }

  async fetch({ chart, view, done, abort }) {
    const all = view.points === "all" || this.whole;
    const options = { signal: abort.signal };
    const how = all ? {} : { resolution: budget(this.ids.length), sampling: "minmax" };
    const bridged = all ? () => null : this.bridge(chart, view, done);
    try {
      await this.read(chart, view, how, options);
    } finally {
      bridged();
    }
    chart.sampling = all ? "all" : "minmax";
    if (view.superseded) await this.readSuperseded(chart, view, how, options);
    else chart.superseded = [];
    chart.prune();
    done(chart);
  }

  /** Draw an even sample if minmax takes its time; answers what ends that. */
  bridge(chart, view, done) {
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      try {
        await this.read(chart, view, { resolution: budget(this.ids.length) }, { signal: abort.signal });
        chart.sampling = "uniform";
        done(chart);
      } catch {
        // What it stands in for tells what is wrong.
      }
    }, PATIENCE);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }

  /** Read and hand over; jobs whose range differs are asked for on their own. */
  async read(chart, view, how, options) {
    const asks = this.ranges(view).map(async ({ jobs, range }) => {
      const answer = await this.source.query({ jobs, keys: chart.spec.keys, ...how, ...range }, options);
      for (const id of jobs) this.hand(chart, id, answer[id]);
    });
    await Promise.all(asks);
  }

  hand(chart, id, answer) {
    if (!answer || answer.error) return;
    const entry = {
      series: seriesOf(answer.metrics),
      matched: answer.matched ?? answer.metrics.length,
      returned: answer.returned ?? answer.metrics.length,
      cursor: answer.cursor ?? null,
      shared: false,
    };
    chart.take(id, entry);
    for (const { job, id: arrived, row } of this.buffer) {
      if (job === id && arrived !== null && entry.cursor !== null && later(arrived, entry.cursor)) chart.append(job, row, arrived, addRow);
    }
  }

  /** What later attempts superseded: each earlier attempt's own rows from where it was overtaken. */
  async readSuperseded(chart, view, how, options) {
    const found = [];
    for (const { jobs, range } of this.ranges(view)) {
      for (const job of jobs) {
        for (const { attempt, from } of overtaken(this.attempts?.get(job) ?? [])) {
          const lower = Math.max(from, range.global_step_from ?? 0);
          const ask = { jobs: [job], keys: chart.spec.keys, ...how, ...range, attempt, global_step_from: lower };
          const answer = await this.source.query(ask, options);
          const rows = answer[job]?.metrics ?? [];
          if (rows.length) found.push({ job, attempt, series: seriesOf(rows) });
        }
      }
    }
    chart.superseded = found;
  }

  // ---------------------------------------------------------------- ranges

  /** The filters of the range in sight, and for which jobs each holds: `[{jobs, range}]`. */
  ranges(view) {
    if (view.from === null) return [{ jobs: this.ids, range: {} }];
    const margin = (view.to - view.from) * MARGIN;
    const [from, to] = [view.from - margin, view.to + margin];
    if (view.x === "step") return [{ jobs: this.ids, range: steps(from, to) }];
    if (view.x === "time") return [{ jobs: this.ids, range: times(from, to) }];
    return this.ids.map((id) => {
      if (view.x === "relative") return { jobs: [id], range: times(this.origin(id) + from, this.origin(id) + to) };
      const epochs = this.epochs.get(id);
      return { jobs: [id], range: epochs?.known ? steps(epochs.step(from), epochs.step(to)) : {} };
    });
  }
}

function steps(from, to) {
  return { global_step_from: Math.floor(Math.max(from, 0)), global_step_to: Math.ceil(Math.max(to, 0)) };
}

function times(from, to) {
  return { logged_at_from: iso(Math.floor(from * 1000)), logged_at_to: iso(Math.ceil(to * 1000)) };
}

function iso(milliseconds) {
  return new Date(Math.min(Math.max(milliseconds, 0), 8.64e15)).toISOString();
}

/** `[{attempt, from}]`: from which step on an attempt is superseded by a later one. */
export function overtaken(attempts) {
  const found = [];
  for (const one of attempts) {
    const later_ = attempts.filter((other) => other.attempt > one.attempt && other.first_step !== null);
    if (later_.length) found.push({ attempt: one.attempt, from: Math.min(...later_.map((other) => other.first_step)) });
  }
  return found;
}

/** Rows become columns: a series holds one metric of one job in typed arrays. */

import { isEpoch, isMetric } from "./names.js";

const WORDS = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

/** One metric of one job: steps, seconds since the epoch, and values, non-finite ones too. */
export class Series {
  constructor(capacity = 256) {
    this.length = 0;
    this.steps = new Float64Array(capacity);
    this.times = new Float64Array(capacity);
    this.values = new Float64Array(capacity);
  }

  push(step, time, value) {
    if (this.length === this.steps.length) {
      for (const name of ["steps", "times", "values"]) this[name] = grown(this[name]);
    }
    this.steps[this.length] = step;
    this.times[this.length] = time;
    this.values[this.length] = value;
    this.length += 1;
  }
}

/** The array with twice the room. */
export function grown(array) {
  const larger = new Float64Array(array.length * 2);
  larger.set(array);
  return larger;
}

/** A row's value as a number, or null if there is none. */
export function valueOf(raw) {
  if (typeof raw === "number") return raw;
  return Object.hasOwn(WORDS, raw) ? WORDS[raw] : null;
}

/** Append a row to the series of its keys, making those that are new. */
export function addRow(series, row) {
  const step = row["train/global_step"];
  const time = row.timestamp / 1e9;
  for (const key in row) {
    if (!isMetric(key)) continue;
    const value = valueOf(row[key]);
    if (value === null) continue;
    let one = series.get(key);
    if (one === undefined) series.set(key, (one = new Series()));
    one.push(step, time, value);
  }
}

/** The series of these rows by key. */
export function seriesOf(rows) {
  const series = new Map();
  for (const row of rows) addRow(series, row);
  return series;
}

/** Which epoch a step is in, from what the rows say of it; straight lines between, and beyond. */
export class Epochs {
  constructor(series) {
    const found = [...series].find(([key, one]) => isEpoch(key) && one.length > 1);
    const points = found ? pairs(found[1]) : [];
    this.steps = points.map(([step]) => step);
    this.epochs = points.map(([, epoch]) => epoch);
  }

  get known() {
    return this.steps.length > 1;
  }

  at(step) {
    return between(this.steps, this.epochs, step);
  }

  /** The step of an epoch. */
  step(epoch) {
    return between(this.epochs, this.steps, epoch);
  }
}

function pairs(one) {
  const all = Array.from({ length: one.length }, (_, i) => [one.steps[i], one.values[i]]);
  const sorted = all.filter(([, epoch]) => Number.isFinite(epoch)).sort((a, b) => a[0] - b[0]);
  return sorted.filter(([step, epoch], i) => i === 0 || (step > sorted[i - 1][0] && epoch > sorted[i - 1][1]));
}

function between(xs, ys, x) {
  if (xs.length < 2) return NaN;
  let high = xs.findIndex((one) => one >= x);
  if (high < 0) high = xs.length - 1;
  high = Math.max(high, 1);
  const low = high - 1;
  return ys[low] + ((x - xs[low]) * (ys[high] - ys[low])) / (xs[high] - xs[low]);
}

/**
 * A series along an axis: `xs` ascending, `ys` beside them, grown in place as the series grows.
 *
 * @param place `(step, time) => x`
 */
export class Projection {
  constructor(series, place) {
    this.series = series;
    this.place = place;
    this.length = 0;
    this.xs = new Float64Array(series.steps.length);
    this.ys = new Float64Array(series.steps.length);
    this.extend();
  }

  /** Take in what the series has gained; late arrivals are put in their place. */
  extend() {
    const { series } = this;
    if (this.xs.length < series.length) {
      const room = series.steps.length;
      for (const name of ["xs", "ys"]) {
        const larger = new Float64Array(room);
        larger.set(this[name]);
        this[name] = larger;
      }
    }
    const begun = this.length;
    let sorted = true;
    for (let i = begun; i < series.length; i += 1) {
      const x = this.place(series.steps[i], series.times[i]);
      this.xs[i] = x;
      this.ys[i] = series.values[i];
      if (i > 0 && x < this.xs[i - 1]) sorted = false;
    }
    this.length = series.length;
    if (!sorted) this.sort();
    return sorted;
  }

  sort() {
    const order = Array.from({ length: this.length }, (_, i) => i);
    order.sort((a, b) => this.xs[a] - this.xs[b] || a - b);
    for (const name of ["xs", "ys"]) {
      const copy = this[name].slice(0, this.length);
      order.forEach((from, to) => (this[name][to] = copy[from]));
    }
  }
}

/** The first index whose x is not below `x`. */
export function lowerBound(xs, length, x) {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The index whose x is nearest, or -1 where there is none. */
export function nearest(xs, length, x) {
  if (length === 0) return -1;
  const right = lowerBound(xs, length, x);
  if (right === 0) return 0;
  if (right === length) return length - 1;
  return x - xs[right - 1] <= xs[right] - x ? right - 1 : right;
}

/** Last, lowest and highest finite value with their steps, and how many are not finite. */
export function summaryOf(series) {
  const sum = { count: series.length, last: null, min: null, max: null, nonfinite: 0 };
  for (let i = 0; i < series.length; i += 1) {
    const value = series.values[i];
    if (!Number.isFinite(value)) {
      sum.nonfinite += 1;
      continue;
    }
    const point = { value, global_step: series.steps[i] };
    sum.last = point;
    if (sum.min === null || value < sum.min.value) sum.min = point;
    if (sum.max === null || value > sum.max.value) sum.max = point;
  }
  return sum;
}

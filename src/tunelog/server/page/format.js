/** Numbers, times and durations as people read them. Every figure is set in tabular numerals. */

const MINUS = "\u2212";
const THIN = "\u2009";

/** A metric's value: four significant digits, an exponent where zeros would be counted. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  const size = Math.abs(value);
  if (size === 0) return "0";
  let text;
  if (size < 1e-3 || size >= 1e7) text = exponent(value);
  else if (Number.isInteger(value)) return count(value);
  else if (size >= 1e4) return count(Math.round(value));
  else text = value.toPrecision(4);
  return text.replace(/^-/, MINUS);
}

function exponent(value) {
  const [digits, power] = value.toExponential(3).split("e");
  const short = digits.replace(/\.?0+$/, "");
  return `${short}e${Number(power)}`.replace("e-", `e${MINUS}`);
}

/** A whole number with its thousands apart. */
export function count(value) {
  return fixed(Math.round(value), 0);
}

/**
 * A number with so many decimals, and its thousands apart.
 *
 * `toLocaleString` writes the same, but has to load its rules first, for tens of milliseconds.
 */
export function fixed(value, decimals) {
  const [whole, rest] = Math.abs(value).toFixed(decimals).split(".");
  const grouped = whole.replace(/\B(?=(?:\d{3})+$)/g, ",");
  return `${value < 0 ? MINUS : ""}${grouped}${rest ? `.${rest}` : ""}`;
}

/** Seconds: `8 s`, `3 min 12 s`, `2 h 05 min`, `4 d 2 h`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const sign = seconds < 0 ? MINUS : "";
  const whole = Math.abs(seconds);
  if (whole < 10) return `${sign}${Number(whole.toPrecision(2))}${THIN}s`;
  const s = Math.round(whole);
  if (s < 60) return `${sign}${s}${THIN}s`;
  if (s < 3600) return `${sign}${Math.floor(s / 60)}${THIN}min ${two(s % 60)}${THIN}s`;
  if (s < 86400) return `${sign}${Math.floor(s / 3600)}${THIN}h ${two(Math.floor((s % 3600) / 60))}${THIN}min`;
  return `${sign}${Math.floor(s / 86400)}${THIN}d ${Math.floor((s % 86400) / 3600)}${THIN}h`;
}

function two(n) {
  return String(n).padStart(2, "0");
}

/** How long ago, in one unit. */
export function ago(seconds) {
  if (seconds < 5) return "just now";
  const units = [[86400 * 365, "y"], [86400 * 30, "mo"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, word] = units.find(([unit]) => seconds >= unit);
  return `${Math.floor(seconds / size)}${THIN}${word} ago`;
}

/** A moment, local, to the second: `2026-01-31 12:00:00`. */
export function moment(date) {
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** A place on the x axis of this kind, with its unit. */
export function place(kind, x) {
  if (kind === "time") return moment(new Date(x * 1000));
  if (kind === "relative") return duration(x);
  if (kind === "epoch") return `epoch ${x.toFixed(3)}`;
  return `step ${count(x)}`;
}

/** Any value of a job's details in one line. */
export function setting(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(value).replace("e-", `e${MINUS}`);
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

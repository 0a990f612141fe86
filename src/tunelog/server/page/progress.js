/** How far a job is, and what is left. */

import { h } from "./dom.js";
import { count, duration } from "./format.js";

const OVER = ["completed", "error", "cancelled"];

/** Whether nothing more is to come. */
export function isOver(job) {
  return OVER.includes(job.status);
}

/** The part that is done, 0 to 1, or null; `step` is the newest that is known. */
export function fraction(job, step) {
  if (job.status === "completed") return 1;
  if (job.total_steps > 0 && step !== null) return Math.min(step / job.total_steps, 1);
  if (job.n_epochs > 0 && job.epochs_completed > 0) return Math.min(job.epochs_completed / job.n_epochs, 1);
  const remaining = left(job);
  const since = elapsed(job);
  return remaining === null || since === null ? null : since / (since + remaining || 1);
}

/** Seconds that remain, as its trainer says; null without an estimate. */
export function left(job) {
  if (isOver(job) || !job.progress?.estimate_available || !job.started_at) return null;
  return Math.max(Date.parse(job.started_at) / 1000 + job.progress.seconds_remaining - Date.now() / 1000, 0);
}

/** Seconds since its start, up to its end. */
export function elapsed(job) {
  if (!job.started_at) return null;
  const end = isOver(job) ? Date.parse(job.updated_at) : Date.now();
  return Math.max((end - Date.parse(job.started_at)) / 1000, 0);
}

/** A bar and what it means in words, many or few. */
export function bar(job, step, words = true) {
  const part = fraction(job, step);
  const percent = part === null ? null : Math.floor(part * 100);
  const remaining = left(job);
  const texts = [];
  if (percent !== null) texts.push(`${percent}%`);
  if (words && step !== null) texts.push(job.total_steps ? `${count(step)} of ${count(job.total_steps)} steps` : `${count(step)} steps`);
  if (remaining !== null) texts.push(`${words ? duration(remaining) : duration(remaining).split(" ")[0]} left`);
  const track = h("progress", { max: 100, "aria-label": "Progress" });
  if (percent !== null) track.value = percent;
  return h("div", { className: "progress" }, percent === null ? null : track, h("span", {}, texts.join(" · ") || "–"));
}

/** A status as a coloured dot and its word. */
export function status(job) {
  return h("span", { className: `status ${job.status}` }, h("i", { "aria-hidden": "true" }), job.status.replace("_", " "));
}

/** What a job is called: by its name, else by its id. */
export function title(job) {
  return job.name || job.suffix || job.id;
}

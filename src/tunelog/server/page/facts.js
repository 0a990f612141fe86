/** What is known of a job beside its curves: settings, attempts, events, checkpoints. */

import { fill, h } from "./dom.js";
import { ago, count, duration, moment, setting } from "./format.js";
import { bar, elapsed, isOver } from "./progress.js";

const NOT_SETTINGS = new Set([
  "id", "status", "user_id", "created_at", "updated_at", "started_at", "total_price", "progress", "name", "tags", "events", "hyperparameters", "model", "epochs_completed",
  "object", "model_output_name", "model_output_path", "early_stopped", "early_stopping_best_step", "early_stopping_best_metric", "queue_depth", "total_steps",
]);

/** Every setting of a job by name: its own fields, flattened, and its hyperparameters. */
export function settings(job) {
  const found = new Map();
  const put = (name, value) => {
    if (value === null || value === undefined || value === "") return;
    if (typeof value === "object" && !Array.isArray(value)) for (const [inner, one] of Object.entries(value)) put(name ? `${name}.${inner}` : inner, one);
    else found.set(name, value);
  };
  for (const [name, value] of Object.entries(job)) if (!NOT_SETTINGS.has(name)) put(name, value);
  put("", job.hyperparameters ?? {});
  return found;
}

/** The aside of a job: `update(job, {attempts, checkpoints, step})`. */
export function facts() {
  const element = h("aside", { className: "facts", tabIndex: 0, "aria-label": "About this job" });
  return {
    element,
    update(job, { attempts = [], checkpoints = [], step = null }) {
      fill(
        element,
        section("Progress", isOver(job) ? null : bar(job, step), definitions(times(job, step))),
        section("Settings", settingsList(job)),
        attempts.length > 1 ? section("Attempts", attemptList(attempts)) : null,
        section("Checkpoints", checkpointList(checkpoints)),
        section("Events", eventList(job.events ?? [])),
      );
    },
  };
}

function section(name, ...children) {
  const shown = children.filter(Boolean);
  return shown.length ? h("section", {}, h("h2", {}, name), shown) : null;
}

function definitions(pairs) {
  return h("dl", {}, pairs.filter(([, value]) => value !== null).map(([name, value, title]) => h("div", {}, h("dt", { title: name }, name), h("dd", { title: title ?? value }, value))));
}

function times(job, step) {
  return [
    ["Step", step === null ? null : job.total_steps ? `${count(step)} of ${count(job.total_steps)}` : count(step)],
    ["Epochs", job.n_epochs && job.epochs_completed ? `${job.epochs_completed} of ${job.n_epochs}` : null],
    ["Started", job.started_at ? moment(new Date(job.started_at)) : null],
    [isOver(job) ? "Took" : "Running for", elapsed(job) === null ? null : duration(elapsed(job))],
    ["Output", job.model_output_name ?? job.model_output_path ?? null],
    ["Stopped early", job.early_stopped ? "yes" : null],
    ["Tags", job.tags?.length ? job.tags.join(", ") : null],
  ];
}

function settingsList(job) {
  const pairs = [...settings(job)].map(([name, value]) => [name, setting(value)]);
  return pairs.length ? definitions(pairs) : h("p", { className: "quietly" }, "None were given: init(hyperparameters={…}) records them.");
}

function attemptList(attempts) {
  const row = (one) => [`Attempt ${one.attempt}`, one.first_step === null ? "not yet begun" : `from step ${count(one.first_step)}`, one.opened_at ? moment(new Date(one.opened_at)) : undefined];
  return definitions(attempts.map(row));
}

function checkpointList(checkpoints) {
  if (!checkpoints.length) return null;
  const row = (one) => h("li", {}, h("span", { className: "n" }, count(one.step)), h("code", { title: one.path }, one.path));
  return h("ul", { className: "list checkpoints" }, [...checkpoints].reverse().slice(0, 30).map(row));
}

function eventList(events) {
  if (!events.length) return null;
  const row = (one) =>
    h(
      "li",
      { className: one.level ?? "info" },
      h("time", { dateTime: one.created_at, title: moment(new Date(one.created_at)) }, ago((Date.now() - Date.parse(one.created_at)) / 1000)),
      h("span", {}, one.message || one.type.replaceAll("_", " "), one.step > 0 ? h("small", {}, ` step ${count(one.step)}`) : null),
    );
  return h("ul", { className: "list events" }, [...events].reverse().slice(0, 60).map(row));
}

/** A job's events, checkpoints and restarts as marks of its charts. */
export function marksOf(job, attempts, checkpoints) {
  const seconds = (text) => (text ? Date.parse(text) / 1000 : NaN);
  const marks = [];
  for (const one of attempts) {
    if (one.attempt > 1 && one.first_step !== null) marks.push({ kind: "attempt", step: one.first_step, time: seconds(one.opened_at), label: `Attempt ${one.attempt}, from step ${count(one.first_step)}` });
  }
  for (const one of checkpoints) marks.push({ kind: "checkpoint", step: one.step, time: seconds(one.created_at), label: `Checkpoint ${count(one.step)}: ${one.path}` });
  for (const one of job.events ?? []) {
    if (one.type === "checkpoint_save") continue;
    const telling = one.step > 0 || one.level === "warning" || one.level === "error";
    if (telling) marks.push({ kind: "event", step: one.step, time: seconds(one.created_at), level: one.level, label: one.message || one.type });
  }
  return marks;
}

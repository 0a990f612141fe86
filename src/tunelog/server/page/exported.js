/** The rows of an exported file, answering as the service would. */

import { initial, parse } from "./view.js";

/** What an exported file holds; null on a page that a service sent. */
export function exportedSource() {
  const element = document.getElementById("exported");
  if (!element) return null;
  const held = JSON.parse(element.textContent);
  const job = async (id) => held.jobs.find((one) => one.id === id);
  return {
    offline: true,
    made: held.made,
    view: { ...initial(), ...parse(held.view), jobs: held.jobs.map(({ id }) => id) },
    whoami: async () => ({}),
    job,
    attempts: async () => held.attempts,
    checkpoints: async () => held.checkpoints,
    metrics: async () => held.charts.flatMap(({ keys }) => keys),
    summary: async () => held.summary ?? { snapshots: {}, metrics: {} },
    query: async (body) => Object.fromEntries(body.jobs.map((id) => [id, answer(held, id, body)])),
  };
}

function answer(held, id, body) {
  const wanted = body.keys ? held.charts.filter(({ keys }) => keys.join() === body.keys.join()) : held.charts;
  const parts = wanted.map(({ jobs }) => jobs[id]).filter((one) => one?.metrics);
  const metrics = parts.flatMap((one) => one.metrics).filter(within(body));
  if (parts.length > 1) metrics.sort((a, b) => a.timestamp - b.timestamp);
  // An answer over all charts is never whole, so that each chart is asked for its own counts.
  const matched = parts.length === 1 ? parts[0].matched : metrics.length + 1;
  return { metrics, matched, returned: metrics.length, cursor: null };
}

function within({ global_step_from: first, global_step_to: last, logged_at_from: begin, logged_at_to: end }) {
  const [from, to] = [begin ? Date.parse(begin) * 1e6 : -Infinity, end ? Date.parse(end) * 1e6 : Infinity];
  return (row) => {
    const step = row["train/global_step"];
    return step >= (first ?? -Infinity) && step <= (last ?? Infinity) && row.timestamp >= from && row.timestamp <= to;
  };
}

/** One job: its curves, and what is known of it. */

import { Board } from "./board.js";
import { exportPage } from "./export.js";
import { fill, h } from "./dom.js";
import { facts, marksOf } from "./facts.js";
import { assign } from "./colours.js";
import { isOver, status, title } from "./progress.js";
import { shareDialog } from "./share.js";
import { summaryTable } from "./summary.js";
import { connection } from "./notice.js";
import { saveJob } from "./downloads.js";

const REFRESH = 4_000;
const SUM_UP = 15_000;
const SMALL = 60_000; // rows up to which a summary is asked for again while the job runs

/** The view of a job: `{element, apply(view), close()}`. */
export function jobView({ source, view, change, link }) {
  const [id] = view.jobs;
  const heading = h("h1", {}, id);
  const about = h("p", { className: "about" });
  const aside = facts();
  const table = summaryTable();
  const known = { job: null, attempts: [], checkpoints: [] };
  const board = new Board({ mode: "job", ids: [id], source, view, change, label: () => id, colours: assign([id]), empty: () => emptiness(known.job) });
  const actions = h(
    "div",
    { className: "actions" },
    source.offline ? null : h("button", { type: "button", onclick: () => shareDialog(source, [id]) }, "Share"),
    source.offline ? null : h("button", { type: "button", title: "One HTML file that opens without a service", onclick: () => exportPage(board, [known.job], known) }, "Export"),
    source.offline ? null : h("button", { type: "button", title: "Every row of the job as CSV", onclick: () => saveJob(source, id) }, "CSV"),
  );
  const element = h(
    "main",
    { className: "job" },
    h("header", { className: "head" }, link, h("div", { className: "title" }, heading, about), actions),
    h("div", { className: "columns" }, h("div", { className: "wide-column" }, board.element, table.element), aside.element),
  );
  const life = { closed: false, timers: [], summing: false };

  async function retrieve() {
    const [job, attempts, checkpoints] = await Promise.all([source.job(id), source.attempts(id), source.checkpoints(id)]);
    if (life.closed) return;
    Object.assign(known, { job, attempts, checkpoints });
    board.setAttempts(id, attempts);
    board.setEvents(marksOf(job, attempts, checkpoints));
    show();
  }

  function show() {
    const { job } = known;
    if (!job) return;
    document.title = `${title(job)} · tunelog`;
    heading.textContent = title(job);
    fill(about, status(job), h("span", {}, job.model), h("code", { title: "The job's id" }, job.id));
    aside.update(job, { ...known, step: newestStep(board) });
  }

  async function sumUp() {
    if (life.summing || life.closed) return;
    life.summing = true;
    table.wait("Summing up …");
    try {
      const summary = await source.summary(id, {});
      if (!life.closed) {
        table.show(summary);
        board.setSummary(summary);
      }
    } catch (error) {
      table.wait(`No summary: ${error.message}`);
    } finally {
      life.summing = false;
    }
  }

  const inSight = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      inSight.disconnect();
      sumUp();
    }
  }, { rootMargin: "100px" });

  function every(milliseconds, call) {
    life.timers.push(setInterval(() => document.hidden || call(), milliseconds));
  }

  async function begin() {
    await board.begin(); // alone, so that nothing keeps the first chart waiting
    await retrieve();
    const rows = board.curves.jobs.get(id)?.matched ?? 0;
    if (rows <= SMALL) sumUp();
    else inSight.observe(table.element);
    if (source.offline) return;
    board.follow([id], (_, name, data) => {
      if (name === "ended" && data.status === 404) fill(board.state, "The job was deleted.");
      retrieve().catch(() => null);
    });
    every(REFRESH, () => {
      if (isOver(known.job)) return;
      retrieve().then(() => connection("job", true), (error) => connection("job", error.status !== undefined));
    });
    every(SUM_UP, () => {
      if (!isOver(known.job) && (board.curves.jobs.get(id)?.matched ?? 0) <= SMALL) sumUp();
    });
  }

  return {
    element,
    ready: begin(),
    apply: (next) => board.apply(next),
    close() {
      life.closed = true;
      life.timers.forEach(clearInterval);
      inSight.disconnect();
      board.close();
    },
  };
}

function newestStep(board) {
  let newest = null;
  for (const job of board.curves.jobs.values()) {
    for (const series of job.series.values()) {
      if (series.length) newest = Math.max(newest ?? 0, series.steps[series.length - 1]);
    }
  }
  return newest;
}

function emptiness(job) {
  return [
    h("strong", {}, "Nothing has been logged yet."),
    job && isOver(job) ? " The job ended without a metric." : " This page shows the first value as soon as it arrives.",
  ];
}

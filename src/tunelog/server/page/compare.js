/** Several jobs, overlaid: a legend with last and best values, and what their settings differ in. */

import { Board } from "./board.js";
import { assign } from "./colours.js";
import { fill, h, swatch } from "./dom.js";
import { exportPage } from "./export.js";
import { settings } from "./facts.js";
import { number, setting } from "./format.js";
import { notice } from "./notice.js";
import { isOver, status, title } from "./progress.js";
import { shareDialog } from "./share.js";
import { bestOf } from "./summary.js";

const REFRESH = 10_000;
const AT_ONCE = 4;

/** The view of several jobs: `{element, apply(view), close()}`. */
export function compareView({ source, view, change, link }) {
  const ids = view.jobs;
  const jobs = new Map();
  const colours = assign(ids);
  const life = { closed: false, timer: 0 };
  const legend = h("aside", { className: "legend-column", tabIndex: 0, "aria-label": "Jobs compared" });
  const differences = h("section", { className: "differences" });
  const board = new Board({
    mode: "compare", ids, source, view, change, colours,
    label: (id) => (jobs.has(id) ? title(jobs.get(id)) : id),
    empty: () => "None of these jobs has logged a metric yet.",
    changed: () => showLegend(),
  });
  const element = h(
    "main",
    { className: "compare" },
    h(
      "header",
      { className: "head" },
      link,
      h("div", { className: "title" }, h("h1", {}, `${ids.length} jobs`), h("p", { className: "about" }, "overlaid")),
      h(
        "div",
        { className: "actions" },
        source.offline ? null : h("button", { type: "button", onclick: () => shareDialog(source, ids) }, "Share"),
        source.offline ? null : h("button", { type: "button", onclick: () => exportPage(board, known(), {}) }, "Export"),
      ),
    ),
    h("div", { className: "columns" }, h("div", { className: "wide-column" }, board.element, differences), legend),
  );

  /** The jobs in the order of the address, whichever was answered first. */
  function known() {
    return ids.filter((id) => jobs.has(id)).map((id) => jobs.get(id));
  }

  async function retrieve(wanted) {
    const queue = [...wanted];
    const worker = async () => {
      while (queue.length && !life.closed) {
        const id = queue.shift();
        try {
          jobs.set(id, await source.job(id));
        } catch (error) {
          if (error.status === 401) throw error;
          if (error.status === 404) board.curves.errors.set(id, "not found");
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    if (life.closed) return;
    document.title = `${ids.length} jobs · tunelog`;
    const missing = ids.filter((id) => board.curves.errors.has(id));
    notice("missing", missing.length ? `Not to be read: ${missing.join(", ")}.` : null);
    showLegend(true);
    fill(differences, differing(known(), board));
  }

  /** The chart whose values the legend shows. */
  function legendChart() {
    return board.charts.get(board.view.legend) ?? board.charts.values().next().value ?? null;
  }

  let rows = null;
  let names = "";
  function showLegend(anew = false) {
    const chart = legendChart();
    const charts = (board.specs ?? []).map(({ name }) => name);
    const shape = JSON.stringify([charts, chart?.spec.name]);
    if (anew || rows === null || names !== shape) {
      names = shape;
      rows = new Map(ids.map((id) => [id, legendRow(id)]));
      const select = h("select", { "aria-label": "Values of", onchange: () => change({ legend: select.value }) }, charts.map((name) => h("option", { value: name, selected: name === chart?.spec.name }, name)));
      fill(
        legend,
        h("table", { className: "legend-table" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, charts.length ? select : "Job"), h("th", { scope: "col", className: "n" }, "Last"), h("th", { scope: "col", className: "n" }, "Best"), h("th", {}, h("span", { className: "unseen" }, "Remove")))), h("tbody", {}, [...rows.values()].map(({ element: row }) => row))),
      );
    }
    for (const [id, row] of rows) row.update(chart);
  }

  function legendRow(id) {
    const job = jobs.get(id);
    const last = h("td", { className: "n" });
    const best = h("td", { className: "n" });
    const button = h("button", { type: "button", className: "name", title: `${id}: click to hide or show`, onclick: () => board.toggle("hidden", id) }, swatch(colours.get(id)), h("span", {}, job ? title(job) : id));
    const remove = h("button", { type: "button", className: "quiet", title: "Take out of the comparison", "aria-label": `Take ${job ? title(job) : id} out`, onclick: () => change({ jobs: ids.filter((one) => one !== id), hidden: board.view.hidden.filter((one) => one !== id) }, true) }, "×");
    const row = h(
      "tr",
      { onpointerenter: () => highlight(id), onpointerleave: () => highlight(null), onfocusin: () => highlight(id), onfocusout: () => highlight(null) },
      h("th", { scope: "row" }, button, job ? h("small", {}, status(job), h("a", { href: `/?job=${encodeURIComponent(id)}` }, "open")) : null),
      last, best, h("td", {}, source.offline ? null : remove),
    );
    return {
      element: row,
      update(chart) {
        const hidden = board.view.hidden.includes(id);
        row.classList.toggle("off", hidden);
        button.setAttribute("aria-pressed", String(!hidden));
        const sum = chart?.summary(id);
        last.textContent = sum?.last ? number(sum.last.value) : "–";
        const top = sum ? bestOf(sum.key, sum) : null;
        best.textContent = top ? number(top.value) : "–";
        best.title = top ? `at step ${top.global_step}` : "";
      },
    };
  }

  function highlight(id) {
    for (const chart of board.charts.values()) if (chart.visible) chart.plot?.highlight(id);
  }

  async function begin() {
    await board.begin(); // alone, so that nothing keeps the first chart waiting
    showLegend(true);
    await retrieve(ids);
    if (source.offline) return;
    const running = ids.filter((id) => jobs.has(id) && !isOver(jobs.get(id)));
    if (running.length) board.follow(running, (id) => retrieve([id]).catch(() => null));
    life.timer = setInterval(() => {
      const open = ids.filter((id) => jobs.has(id) && !isOver(jobs.get(id)));
      if (!document.hidden && open.length) retrieve(open).catch(() => null);
    }, REFRESH);
    for (const id of ids.slice(0, 12)) source.attempts(id).then((attempts) => board.setAttempts(id, attempts), () => null);
  }

  return {
    element,
    ready: begin(),
    apply(next) {
      board.apply(next);
      showLegend();
    },
    close() {
      life.closed = true;
      clearInterval(life.timer);
      notice("missing", null);
      board.close();
    },
  };
}

/** A table of the settings that are not the same in all jobs. */
function differing(jobs, board) {
  if (jobs.length < 2) return [];
  const all = jobs.map((job) => new Map([["model", job.model], ...settings(job)]));
  const names = [...new Set(all.flatMap((one) => [...one.keys()]))];
  const text = (one, name) => (one.has(name) ? setting(one.get(name)) : "–");
  const apart = names.filter((name) => new Set(all.map((one) => text(one, name))).size > 1);
  const same = names.length - apart.length;
  const words = same ? `${same} ${same === 1 ? "setting is" : "settings are"} the same in all.` : "";
  if (!apart.length) return [h("h2", {}, "Settings"), h("p", { className: "quietly" }, `No setting differs. ${words}`)];
  return [
    h("h2", {}, "Settings that differ"),
    h(
      "div",
      { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Settings that differ" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Job"), apart.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, jobs.map((job, i) => h("tr", {}, h("th", { scope: "row" }, swatch(board.colours.get(job.id)), title(job)), apart.map((name) => h("td", { className: typeof all[i].get(name) === "number" ? "n" : "" }, text(all[i], name)))))),
      ),
    ),
    h("p", { className: "quietly" }, words),
  ];
}

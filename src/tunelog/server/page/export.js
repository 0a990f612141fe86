/**
 * A view as one HTML file that opens without a service.
 *
 * It holds this page's own stylesheet and modules, each module as a function that runs once in
 * order, and the rows of every chart. `exported.js` answers from them in place of the service.
 */

import { saveFile } from "./files.js";
import { notice } from "./notice.js";
import { format } from "./view.js";

const ROOT = "/page/";
const BUDGET = 2000;
const IMPORT = /^import \{([^}]*)\} from "\.\/([\w-]+\.js)";$/gm;
const EXPORT = /^export (?=(?:async )?(?:function|class|const) (\w+))/gm;
const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/** Make the file and save it. */
export async function exportPage(board, jobs, known) {
  notice("export", "Making the file …");
  try {
    const [page, data] = await Promise.all([files(), rows(board)]);
    const held = {
      made: new Date().toISOString(),
      view: format({ ...board.view, superseded: false }),
      jobs,
      attempts: known.attempts ?? [],
      checkpoints: known.checkpoints ?? [],
      summary: board.summary,
      charts: data,
    };
    const name = `${jobs.length === 1 ? jobs[0].id : "comparison"}.html`;
    saveFile(name, new Blob([documentOf(page, held)], { type: "text/html" }));
    notice("export", null);
  } catch (error) {
    notice("export", `The file could not be made: ${error.message}`);
  }
}

// ---------------------------------------------------------------- rows

/** `[{keys, jobs: {id: {metrics, matched, returned}}}]`, a chart each: all of it, and the range in sight finer. */
async function rows(board) {
  const held = [];
  for (const { spec } of board.charts.values()) {
    const how = board.view.points === "all" ? {} : { resolution: Math.max(Math.round(BUDGET / Math.sqrt(board.ids.length)), 200), sampling: "minmax" };
    const jobs = await board.source.query({ jobs: board.ids, keys: spec.keys, ...how });
    if (board.view.from !== null) {
      for (const { jobs: ids, range } of board.curves.ranges({ ...board.view, x: board.kind })) {
        const finer = await board.source.query({ jobs: ids, keys: spec.keys, ...how, ...range });
        for (const id of ids) if (jobs[id]?.metrics && finer[id]?.metrics) merge(jobs[id], finer[id]);
      }
    }
    held.push({ keys: spec.keys, jobs });
  }
  return held;
}

function merge(whole, finer) {
  const name = (row) => JSON.stringify(row);
  const known = new Set(whole.metrics.map(name));
  whole.metrics.push(...finer.metrics.filter((row) => !known.has(name(row))));
  whole.metrics.sort((a, b) => a.timestamp - b.timestamp);
  whole.returned = whole.metrics.length;
}

// ---------------------------------------------------------------- the page's own files

async function files() {
  const text = async (name) => {
    const response = await fetch(ROOT + name);
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    return response.text();
  };
  const modules = new Map();
  const take = async (name) => {
    if (modules.has(name)) return;
    modules.set(name, "");
    const source = await text(name);
    modules.set(name, source);
    await Promise.all([...source.matchAll(IMPORT)].map(([, , other]) => take(other)));
  };
  const [style, plotStyle, plot] = await Promise.all([text("style.css"), text("vendor/uplot/uPlot.min.css"), text("vendor/uplot/uPlot.iife.min.js"), take("main.js")]);
  return { style: `${plotStyle}\n${style}`, plot, modules };
}

/** The modules as one script: each after those it imports, its exports an object. */
export function bundle(modules) {
  const written = new Set();
  const parts = [];
  const write = (name) => {
    if (written.has(name)) return;
    written.add(name);
    const source = modules.get(name);
    for (const [, , other] of source.matchAll(IMPORT)) write(other);
    const exported = [...source.matchAll(EXPORT)].map(([, one]) => one);
    const plain = source
      .replace(IMPORT, (_, names, other) => `const {${names.replaceAll(" as ", ": ")}} = modules["${other}"];`)
      .replace(EXPORT, "");
    parts.push(`modules["${name}"] = (() => {\n${plain}\nreturn { ${exported.join(", ")} };\n})();`);
  };
  write("main.js");
  return `"use strict";\nconst modules = {};\n${parts.join("\n")}`;
}

function documentOf({ style, plot, modules }, held) {
  const script = (text) => text.replaceAll("</script", "<\\/script");
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">',
    `<title>tunelog</title><style>${style}</style></head><body>`,
    `<script type="application/json" id="exported">${JSON.stringify(held).replaceAll("<", "\\u003c")}</script>`,
    `<script>${script(plot)}</script><script>${script(bundle(modules))}</script></body></html>`,
  ].join("\n");
}

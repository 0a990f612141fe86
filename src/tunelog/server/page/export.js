/**
 * A view as one HTML file that opens without a service.
 *
 * It holds this page's own stylesheet and script, joined as they are sent, and the rows of every
 * chart. `exported.js` answers from them in place of the service.
 */

import { saveFile } from "./files.js";
import { notice } from "./notice.js";
import { format } from "./view.js";

const ROOT = "/page/";
const BUDGET = 2000;
const SOURCE_MAP = /^\/\/# sourceMappingURL=.*$/m;
const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/** Make the file and save it. */
export async function exportPage(board, jobs, known) {
  notice("export", "Making the file …");
  try {
    const [own, data] = await Promise.all([files(), rows(board)]);
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
    saveFile(name, new Blob([documentOf(own, held)], { type: "text/html" }));
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

/** What this page runs: the addresses are those it came by, so the browser has them all. */
async function files() {
  const text = async (name) => {
    const element = document.querySelector(`[src^="${ROOT}${name}"], [href^="${ROOT}${name}"]`);
    const response = await fetch(element.src ?? element.href);
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    return response.text();
  };
  const [style, script] = await Promise.all(["joined.css", "joined.js"].map(text));
  return { style, script: script.replace(SOURCE_MAP, "") };
}

function documentOf({ style, script }, held) {
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">',
    `<title>tunelog</title><style>${style}</style></head><body>`,
    `<script type="application/json" id="exported">${JSON.stringify(held).replaceAll("<", "\\u003c")}</script>`,
    `<script>${script.replaceAll("</script", "<\\/script")}</script></body></html>`,
  ].join("\n");
}

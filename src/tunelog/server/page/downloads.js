/** Downloads: a chart's rows as CSV or JSON, every point of the range in sight; the chart as a PNG. */

import { palette } from "./colours.js";
import { saveFile } from "./files.js";
import { notice } from "./notice.js";
import { split } from "./names.js";

/** Save a chart: `kind` is csv, json or png. */
export async function save(chart, kind) {
  const name = `${chart.board.ids.length === 1 ? chart.board.ids[0] : "comparison"}-${chart.spec.name.replaceAll("/", "-")}`;
  try {
    if (kind === "png") saveFile(`${name}.png`, await png(chart));
    else if (kind === "json") saveFile(`${name}.json`, new Blob([JSON.stringify(await rows(chart), null, 1)], { type: "application/json" }));
    else saveFile(`${name}.csv`, new Blob([csv(await rows(chart), chart.spec.keys)], { type: "text/csv" }));
    notice("download", null);
  } catch (error) {
    notice("download", `Nothing was saved: ${error.message}`);
  }
}

/** Save every row of a job, in the service's own CSV. */
export async function saveJob(source, id) {
  try {
    const response = await source.rows(id, {}, "text/csv");
    saveFile(`${id}.csv`, await response.blob());
    notice("download", null);
  } catch (error) {
    notice("download", `Nothing was saved: ${error.message}`);
  }
}

/** `{job: [row, …]}` of the range in sight, every point, non-finite values as words. */
async function rows(chart) {
  const { board } = chart;
  const found = {};
  for (const { jobs, range } of board.curves.ranges({ ...board.view, x: board.kind })) {
    const answer = await board.source.query({ jobs, keys: chart.spec.keys, ...range });
    for (const id of jobs) found[id] = answer[id]?.metrics ?? [];
  }
  return found;
}

function csv(jobs, keys) {
  const names = ["job", "timestamp", "train/global_step", ...keys];
  const quoted = (value) => (/[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const lines = [names.map(quoted).join(",")];
  for (const [id, some] of Object.entries(jobs)) for (const row of some) lines.push([id, ...names.slice(1).map((name) => row[name] ?? "")].map(quoted).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

/** The plot with its heading and legend, on the ground of the theme. */
async function png(chart) {
  const source = chart.plot.u.ctx.canvas;
  const ratio = devicePixelRatio;
  const head = 30 * ratio;
  const canvas = Object.assign(document.createElement("canvas"), { width: source.width, height: source.height + head });
  const context = canvas.getContext("2d");
  const colours = palette();
  context.fillStyle = colours.panel;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, head);
  context.textBaseline = "middle";
  context.fillStyle = colours.text;
  context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  context.fillText(chart.spec.name, 12 * ratio, head / 2);
  let x = context.measureText(chart.spec.name).width + 28 * ratio;
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  for (const line of chart.lines.filter((one) => !one.faint)) {
    const word = chart.board.mode === "job" ? split(line.key).kind || line.key : chart.board.label(line.owner);
    if (x + context.measureText(word).width > canvas.width - 20 * ratio) break;
    context.fillStyle = chart.plot.colourOf(line);
    context.fillRect(x, head / 2 - ratio, 12 * ratio, 2 * ratio);
    context.fillStyle = colours.muted;
    context.fillText(word, x + 17 * ratio, head / 2);
    x += context.measureText(word).width + 32 * ratio;
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

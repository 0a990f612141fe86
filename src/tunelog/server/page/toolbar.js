/** What all charts of a board have in common: the x axis, smoothing, points, attempts, names. */

import { debounced, h, say } from "./dom.js";
import { AXES } from "./view.js";

const WORDS = { step: "Step", time: "Time", relative: "Relative", epoch: "Epoch" };
const TITLES = { step: "global_step", time: "Wall time", relative: "Time since each job's first row", epoch: "Epoch" };

/** The toolbar of a board: its element, and `update()` to show the board's view. */
export function toolbar(board) {
  const radios = new Map(AXES.map((kind) => [kind, radio(kind, board)]));
  const range = h("input", {
    type: "range", min: "0", max: "0.99", step: "0.01", "aria-label": "Smoothing", title: "Debiased exponential moving average; the raw line stays behind it",
    oninput: () => smooth(Number(range.value)),
  });
  const smooth = (value) => {
    say(shown, value ? value.toFixed(2) : "off");
    board.change({ smooth: value });
  };
  const shown = h("output", {}, "off");
  const all = toggle("All points", "Every point instead of about a thousand a line", (on) => board.change({ points: on ? "all" : "sampled" }));
  const superseded = toggle("Superseded", "What earlier attempts logged before a restart went back behind it", (on) => board.change({ superseded: on }));
  const names = h("input", { type: "search", placeholder: "Metrics", "aria-label": "Show metrics whose name contains", oninput: debounced(() => board.change({ metrics: names.value }), 150) });
  const element = h(
    "div",
    { className: "toolbar", role: "toolbar", "aria-label": "Charts" },
    h("fieldset", { className: "segments" }, h("legend", { className: "unseen" }, "x axis"), [...radios.values()].map(({ label }) => label)),
    h("label", { className: "smoothing" }, h("span", {}, "Smoothing"), range, shown),
    all.label,
    superseded.label,
    names,
  );
  return {
    element,
    update() {
      const { view } = board;
      for (const [kind, { input }] of radios) {
        input.checked = kind === board.kind;
        input.disabled = kind === "epoch" && Boolean(board.ready) && !board.curves.epochsKnown;
      }
      if (document.activeElement !== range) range.value = String(view.smooth);
      say(shown, view.smooth ? view.smooth.toFixed(2) : "off");
      all.input.checked = view.points === "all";
      superseded.input.checked = view.superseded;
      superseded.label.hidden = board.source.offline || !(board.restarted || view.superseded);
      all.label.hidden = board.source.offline;
      if (document.activeElement !== names) names.value = view.metrics;
      names.hidden = board.charts.size < 7 && !view.metrics;
    },
  };
}

function radio(kind, board) {
  const input = h("input", { type: "radio", name: "x-axis", value: kind, onchange: () => board.change({ x: kind, from: null, to: null }, true) });
  return { input, label: h("label", { title: TITLES[kind] }, input, h("span", {}, WORDS[kind])) };
}

function toggle(word, title, change) {
  const input = h("input", { type: "checkbox", onchange: () => change(input.checked) });
  return { input, label: h("label", { className: "toggle", title }, input, word) };
}

/** The table of a job's metrics: last, best with its step, lowest and highest, what is not finite. */

import { fill, h } from "./dom.js";
import { count, number } from "./format.js";
import { better, split } from "./names.js";

/** `{element, show(summary), wait(words)}` */
export function summaryTable() {
  const body = h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Summary of the metrics" });
  const element = h("section", { className: "summary" }, h("h2", {}, "Summary"), body);
  return {
    element,
    wait(words) {
      if (!body.querySelector("table")) fill(body, h("p", { className: "quietly" }, words));
    },
    show(summary) {
      const rows = Object.entries(summary.metrics).map(([key, one]) => row(key, one));
      const head = ["Metric", "Last", "Best", "at step", "Lowest", "Highest", "Values", "Not finite"];
      const numeric = (index) => (index ? "n" : null);
      fill(
        body,
        h("table", {}, h("thead", {}, h("tr", {}, head.map((word, i) => h("th", { scope: "col", className: numeric(i) ?? "" }, word)))), h("tbody", {}, rows)),
      );
    },
  };
}

function row(key, one) {
  const best = bestOf(key, one);
  const bad = one.nonfinite ? `${count(one.nonfinite)}, first at step ${count(one.first_nonfinite_step)}` : "0";
  const cells = [number(one.last?.value), best ? number(best.value) : "–", best ? count(best.global_step) : "–", number(one.min?.value), number(one.max?.value), count(one.count), bad];
  return h("tr", { "data-key": key }, h("th", { scope: "row" }, key), cells.map((text, i) => h("td", { className: i === 6 && one.nonfinite ? "n loud" : "n" }, text)));
}

/** The best point of a metric that is better low or high; null of others. */
export function bestOf(key, one) {
  const way = better(split(key).base);
  return way === null ? null : way === "low" ? one.min : one.max;
}

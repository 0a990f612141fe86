/** Names of metrics: which belong into one chart, how charts are grouped, which way is better. */

const KINDS = ["train", "eval"];
const BETTER_LOW = /(^|[/_])(loss|perplexity|ppl|error|wer|cer|rmse|mse|mae|nll|bpb)([/_]|$)/i;
const BETTER_HIGH =
  /(^|[/_])(acc|accuracy|accuracies|f1|bleu|rouge\w*|reward|rewards|margins?|auc|precision|recall|exact_match|win_?rate|pass@?\d*)([/_]|$)/i;
const NOT_METRICS = new Set(["timestamp", "train/global_step", "train/nonfinite", "eval/nonfinite"]);

/** Whether a row's key is a metric. */
export function isMetric(key) {
  return !NOT_METRICS.has(key);
}

/** `train/loss` → `{kind: "train", base: "loss"}`; a name of neither kind keeps all of it. */
export function split(key) {
  const slash = key.indexOf("/");
  const kind = key.slice(0, slash);
  return KINDS.includes(kind) ? { kind, base: key.slice(slash + 1) } : { kind: "", base: key };
}

/** The group's name of a chart: what stands before the first slash, or "". */
export function groupOf(base) {
  const slash = base.indexOf("/");
  return slash > 0 ? base.slice(0, slash) : "";
}

/**
 * The charts of these keys: `[{name, group, title, keys}]`, each with its train and eval series.
 *
 * Losses come first, then what else is better low or high, then the rest as it was logged; the
 * ungrouped before the groups.
 */
export function chartsOf(keys) {
  const charts = new Map();
  for (const key of keys) {
    if (!isMetric(key)) continue;
    const { base } = split(key);
    if (!charts.has(base)) {
      const group = groupOf(base);
      charts.set(base, { name: base, group, title: group ? base.slice(group.length + 1) : base, keys: [] });
    }
    charts.get(base).keys.push(key);
  }
  for (const chart of charts.values()) chart.keys.sort((a, b) => order(a) - order(b));
  const groups = [...new Set([...charts.values()].map((chart) => chart.group))].sort((a, b) => (a === "" ? -1 : b === "" ? 1 : 0));
  return groups.flatMap((group) =>
    [...charts.values()].filter((chart) => chart.group === group).sort((a, b) => rank(a.name) - rank(b.name)),
  );
}

function order(key) {
  const index = KINDS.indexOf(split(key).kind);
  return index < 0 ? KINDS.length : index;
}

function rank(name) {
  if (name === "loss") return 0;
  if (BETTER_LOW.test(name)) return 1;
  if (BETTER_HIGH.test(name)) return 2;
  return name === "epoch" ? 4 : 3;
}

/** "low", "high", or null where neither is better. */
export function better(name) {
  if (BETTER_LOW.test(name)) return "low";
  return BETTER_HIGH.test(name) ? "high" : null;
}

/** Whether a key tells the epoch. */
export function isEpoch(key) {
  return split(key).base === "epoch";
}

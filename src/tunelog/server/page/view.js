/**
 * The view and the address: one is made from the other, so a link holds all that is seen.
 *
 * What is as by default is not in the address. Unknown parameters are dropped.
 */

export const AXES = ["step", "time", "relative", "epoch"];

/** The view before anything was chosen. */
export function initial() {
  return {
    jobs: [],
    x: "step",
    from: null,
    to: null,
    smooth: 0,
    log: [],
    hidden: [],
    points: "sampled",
    superseded: false,
    wide: null,
    metrics: "",
    legend: null,
    search: "",
    status: "",
    signIn: null,
  };
}

/** The view of an address's query string. */
export function parse(query) {
  const given = new URLSearchParams(query);
  const view = initial();
  view.jobs = [...new Set(given.getAll("job").filter(Boolean))];
  if (AXES.includes(given.get("x"))) view.x = given.get("x");
  const [from, to] = [finite(given.get("from")), finite(given.get("to"))];
  if (from !== null && to !== null && from < to) [view.from, view.to] = [from, to];
  const smooth = finite(given.get("smooth"));
  if (smooth !== null) view.smooth = Math.min(Math.max(smooth, 0), 0.99);
  view.log = given.getAll("log").filter(Boolean);
  view.hidden = given.getAll("hidden").filter(Boolean);
  if (given.get("points") === "all") view.points = "all";
  view.superseded = given.get("superseded") === "1";
  for (const name of ["wide", "legend"]) view[name] = given.get(name) || null;
  for (const name of ["metrics", "search", "status"]) view[name] = given.get(name) ?? "";
  view.signIn = given.get("sign-in");
  return view;
}

/** The query string of a view, with its question mark, or "" for the default one. */
export function format(view) {
  const parts = [];
  const add = (name, value) => parts.push(`${name}=${encode(String(value))}`);
  for (const job of view.jobs) add("job", job);
  if (view.x !== "step") add("x", view.x);
  if (view.from !== null) {
    add("from", Number(view.from.toPrecision(12)));
    add("to", Number(view.to.toPrecision(12)));
  }
  if (view.smooth) add("smooth", view.smooth);
  for (const name of view.log) add("log", name);
  for (const name of view.hidden) add("hidden", name);
  if (view.points === "all") add("points", "all");
  if (view.superseded) add("superseded", 1);
  for (const name of ["wide", "legend", "metrics", "search", "status"]) if (view[name]) add(name, view[name]);
  return parts.length ? `?${parts.join("&")}` : "";
}

/** With readable slashes and colons, which a query may hold as they are. */
function encode(text) {
  return encodeURIComponent(text).replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%2C", ",");
}

function finite(text) {
  if (text === null || text.trim() === "") return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

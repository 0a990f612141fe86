/** The page: which view the address asks for, and going from one to another. */

import { service, shareToken } from "./api.js";
import { compareView } from "./compare.js";
import { debounced, fill, h } from "./dom.js";
import { exportedSource } from "./exported.js";
import { moment } from "./format.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";
import { connection } from "./notice.js";
import { signInView } from "./signin.js";
import { format, initial, parse } from "./view.js";

const AGAIN = 3_000;
const exported = exportedSource();
const source = exported ?? service;
const root = h("div", { id: "page" });
let view = exported ? exported.view : parse(location.search);
let shown = null;
let waiting = 0;

/** Browsers take only so many changes of the address: a slider makes more. */
const writeSoon = debounced(() => write("replaceState", view), 150);

document.body.prepend(root);
addEventListener("popstate", () => go(parse(location.search)));
addEventListener("hashchange", () => show());
document.addEventListener("click", follow);
show();

// ---------------------------------------------------------------- moving

/** Change the view: the address follows. `push` makes a step that Back undoes. */
function change(patch, push = false) {
  const next = { ...view, ...patch };
  if (push) write("pushState", next);
  else writeSoon();
  go(next);
}

function go(next) {
  const moved = next.jobs.join() !== view.jobs.join();
  view = next;
  if (moved || !shown) show();
  else shown.apply(view);
}

function write(how, next) {
  if (exported) return; // a file's address stays as it is
  history[how](null, "", `/${format(next)}${location.hash}`);
}

/** Links within the page do not load it again. */
function follow(event) {
  const anchor = event.target.closest?.("a[href]");
  if (!anchor || exported || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || anchor.download) return;
  const url = new URL(anchor.href);
  if (url.origin !== location.origin || url.pathname !== "/") return;
  event.preventDefault();
  change({ ...initial(), ...parse(url.search) }, true);
  scrollTo(0, 0);
}

// ---------------------------------------------------------------- views

async function show() {
  clearTimeout(waiting);
  shown?.close();
  shown = null;
  try {
    if (shareToken() && !exported && !view.jobs.length) await showShared();
    mount(view.jobs.length === 0 ? jobsView(given()) : view.jobs.length === 1 ? jobView(given()) : compareView(given()));
    await shown.ready;
    connection("page", true);
  } catch (error) {
    failed(error);
  }
}

function given() {
  return { source, view, change, link: crumb(), signedOut: signOutButton() };
}

function mount(next) {
  shown = next;
  fill(root, next.element);
}

/** A share link that names no job shows those it is for. */
async function showShared() {
  const caller = await source.whoami();
  const jobs = caller.jobs ?? caller.share?.jobs ?? [];
  view = { ...view, jobs };
  write("replaceState", view);
}

function failed(error) {
  if (error.name === "AbortError") return;
  shown?.close();
  if (error.status === 401 || error.status === 403) {
    mount(signInView({ source, view, shared: Boolean(shareToken()), done: signedIn }));
    shown.element.querySelector("input").focus();
    return;
  }
  shown = null;
  if (error.status === undefined) {
    connection("page", false);
    if (!(error instanceof TypeError)) reportError(error);
    waiting = setTimeout(show, AGAIN);
    fill(root, wrong("The service does not answer.", "This page tries again by itself."));
  } else if (error.status === 404) fill(root, wrong("There is no such job here.", "It may have been deleted, or belong to another project than your key."));
  else fill(root, wrong("Something went wrong.", error.message, h("button", { type: "button", onclick: () => show() }, "Try again")));
}

function signedIn() {
  if (shareToken()) history.replaceState(null, "", `/${location.search}`);
  view = { ...view, signIn: null };
  write("replaceState", view);
  show();
}

function wrong(what, why, ...more) {
  return h("main", { className: "wrong" }, h("h1", {}, what), h("p", {}, why), more, h("p", {}, h("a", { href: "/" }, "All jobs")));
}

function crumb() {
  if (exported) return h("p", { className: "crumb" }, `tunelog, saved ${moment(new Date(exported.made))}`);
  if (shareToken()) return h("p", { className: "crumb" }, "tunelog, a shared view, read-only");
  return h("nav", { className: "crumb", "aria-label": "Up" }, h("a", { href: "/" }, "Jobs"));
}

function signOutButton() {
  if (exported || shareToken()) return null;
  return h("button", { type: "button", className: "quiet", onclick: async () => { await source.signOut().catch(() => null); show(); } }, "Sign out");
}

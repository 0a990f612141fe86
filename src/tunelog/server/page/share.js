/** Share links: who has one sees these jobs, and nothing else, until it expires or is revoked. */

import { fill, h } from "./dom.js";
import { ago, moment } from "./format.js";

const DAY = 86_400;
const TERMS = [["1 day", DAY], ["7 days", 7 * DAY], ["30 days", 30 * DAY], ["1 year", 365 * DAY]];

/** Open the dialog for these jobs. */
export function shareDialog(source, jobs) {
  const term = h("select", { id: "share-term" }, TERMS.map(([word, seconds]) => h("option", { value: String(seconds), selected: seconds === 7 * DAY }, word)));
  const result = h("div", { className: "result", "aria-live": "polite" });
  const list = h("div", { className: "shares" });
  const make = h("button", { type: "submit", className: "primary" }, "Make a link");

  async function submit(event) {
    event.preventDefault();
    make.disabled = true;
    try {
      const share = await source.createShare({ jobs, expires_in: Number(term.value) });
      fill(result, link(linkOf(share)));
      await show();
    } catch (error) {
      fill(result, h("p", { className: "problem" }, error.message));
    } finally {
      make.disabled = false;
    }
  }

  async function show() {
    try {
      const mine = (await source.shares()).filter((share) => share.revoked_at === null && Date.parse(share.expires_at) > Date.now() && share.jobs.some((id) => jobs.includes(id)));
      fill(list, mine.length ? [h("h3", {}, "Links that work now"), h("ul", {}, mine.map(item))] : null);
    } catch (error) {
      fill(list, h("p", { className: "problem" }, error.message));
    }
  }

  function item(share) {
    const revoke = h("button", { type: "button", className: "quiet", onclick: async () => { await source.revokeShare(share.id); await show(); } }, "Revoke");
    return h("li", {}, h("span", {}, share.name || `${share.jobs.length} ${share.jobs.length === 1 ? "job" : "jobs"}`, h("small", {}, ` made ${ago((Date.now() - Date.parse(share.created_at)) / 1000)}, until ${moment(new Date(share.expires_at))}`)), revoke);
  }

  const dialog = h(
    "dialog",
    { className: "share", "aria-label": "Share", onclose: () => dialog.remove(), onclick: (event) => event.target === dialog && dialog.close() },
    h(
      "form",
      { onsubmit: submit },
      h("h2", {}, "Share"),
      h("p", {}, `Who has the link sees ${jobs.length === 1 ? "this job" : `these ${jobs.length} jobs`} as you see ${jobs.length === 1 ? "it" : "them"} now, live and read-only, and nothing else of the project.`),
      h("div", { className: "line" }, h("label", { htmlFor: "share-term" }, "It works for"), term, make, h("button", { type: "button", className: "quiet", onclick: () => dialog.close() }, "Close")),
    ),
    result,
    list,
  );
  document.body.append(dialog);
  dialog.showModal();
  show();
  return dialog;
}

/** The link with the view that is in the address now. */
function linkOf(share) {
  return `${location.origin}/${location.search}#share=${encodeURIComponent(share.token)}`;
}

function link(url) {
  const field = h("input", { readOnly: true, value: url, "aria-label": "Share link", onfocus: () => field.select() });
  const copy = h("button", { type: "button", onclick: async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(url);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Press Ctrl-C";
    }
  } }, "Copy");
  return h("div", { className: "line" }, field, copy);
}

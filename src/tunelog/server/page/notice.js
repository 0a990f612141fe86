/** A small notice at the foot of the page, which is there while something is amiss. */

import { h } from "./dom.js";

const reasons = new Map();
let box = null;
let showing = 0;

/** What is amiss under this name, in words; null once it is well again. */
export function notice(name, words) {
  if (words === null) reasons.delete(name);
  else reasons.set(name, words);
  clearTimeout(showing);
  // A stream that is back within the second is not worth a word.
  showing = setTimeout(show, reasons.size ? 700 : 0);
}

function show() {
  if (box === null) {
    box = h("div", { className: "notice", role: "status", "aria-live": "polite" });
    document.body.append(box);
  }
  const words = [...new Set(reasons.values())];
  box.hidden = words.length === 0;
  box.replaceChildren(...words.map((text) => h("p", {}, text)));
}

const AWAY = "The service does not answer. What you see is what it last said; this page goes on by itself.";

/** The connection's state, from whoever notices it. */
export function connection(name, well) {
  notice(`connection ${name}`, well ? null : AWAY);
}

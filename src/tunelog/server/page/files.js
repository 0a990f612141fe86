/** Hand a file to whoever sits before the browser. */

import { h } from "./dom.js";

/** Save a blob under a name. */
export function saveFile(name, blob) {
  const url = URL.createObjectURL(blob);
  const anchor = h("a", { href: url, download: name.replace(/[^\w.\- ]+/g, "_") });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Elements in one call. Text is only ever text: nothing here makes HTML of a string. */

const UNSEEN = 100; // milliseconds to wait for a frame that a hidden tab never has

/**
 * An element with properties and children. `on…` are listeners, `class` and `aria-…`, `data-…` and
 * the like attributes; null, undefined and false are left out.
 */
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-") && name !== "list" && name !== "form") element[name] = value;
    else element.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Put these in place of all that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

/** Set text only where it differs, so that nothing is laid out in vain. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A small picture of a line's colour, as the stylesheet has it. */
export function swatch(index, kind = "") {
  return h("i", { className: `swatch c${index} ${kind}`, "aria-hidden": "true" });
}

/** Call once now and then, the last time after quiet. */
export function debounced(call, milliseconds) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), milliseconds);
  };
}

/** Resolves when what was done until now can be seen; soon where nobody looks. */
export function painted() {
  return new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, UNSEEN);
  });
}

/** Call once in the next frame, however often asked. */
export function framed(call) {
  let asked = 0;
  return () => {
    if (!asked) {
      asked = requestAnimationFrame(() => {
        asked = 0;
        call();
      });
    }
  };
}

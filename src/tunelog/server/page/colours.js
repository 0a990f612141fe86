/** Which colour a job has: the same in every view, and no two alike while there are enough. */

export const COLOURS = 8;

/** A number from an id, the same for ever (FNV-1a, 32 bits). */
export function hash(id) {
  let value = 0x811c9dc5;
  for (let i = 0; i < id.length; i += 1) {
    value ^= id.charCodeAt(i);
    value = Math.imul(value, 0x01000193) >>> 0;
  }
  return value;
}

/**
 * The palette's index of each id: its hash says it; where that is taken, the next that is free.
 *
 * Earlier ids go first, so adding a job changes no other's colour. Once all are taken they are
 * given out again.
 */
export function assign(ids) {
  const given = new Map();
  let taken = new Set();
  for (const id of ids) {
    if (given.has(id)) continue;
    let index = hash(id) % COLOURS;
    if (taken.size === COLOURS) taken = new Set();
    while (taken.has(index)) index = (index + 1) % COLOURS;
    taken.add(index);
    given.set(id, index);
  }
  return given;
}

/** The colours of the theme that is on, from the stylesheet. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return {
    lines: Array.from({ length: COLOURS }, (_, i) => value(`--c${i}`)),
    train: value("--train"),
    eval: value("--eval"),
    text: value("--text"),
    muted: value("--muted"),
    grid: value("--grid"),
    ground: value("--ground"),
    panel: value("--panel"),
    warn: value("--warn"),
    bad: value("--bad"),
  };
}

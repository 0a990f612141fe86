/**
 * Server-sent events over fetch, which can send headers where an EventSource cannot.
 *
 * A stream that breaks is taken up where it broke (`Last-Event-ID`), later each time in vain. A page
 * that nobody sees closes it, and goes on from there when it is seen again.
 */

const FIRST_WAIT = 400;
const LONGEST_WAIT = 10_000;
const SILENCE = 40_000; // the service says something every 15 s
const HIDDEN = 3_000;
const UP_TO_DATE = "up to date"; // the comment that says that all there is has been sent
const CAUGHT_UP = "caught up";

/**
 * Follow a stream until `close()`.
 *
 * @param path without the last event's id.
 * @param headers makes the request's headers.
 * @param on `{event(name, data, id), state(word), ended(status)}`: `live`, `waiting` and `paused`
 *   are the states; `ended` is called with 401, 403 or 404, after which there is nothing more.
 * @param nap for how many milliseconds to let go of the connection when all there is has been
 *   heard; 0 keeps it. A browser has only six to a host.
 */
export function stream(path, headers, on, nap = 0) {
  const self = { last: null, closed: false, abort: null, wake: null, nap };
  const visibility = () => {
    clearTimeout(self.hiding);
    if (document.hidden) self.hiding = setTimeout(() => self.abort?.abort(), HIDDEN);
    else self.wake?.();
  };
  const online = () => self.wake?.();
  document.addEventListener("visibilitychange", visibility);
  addEventListener("online", online);
  run(path, headers, on, self);
  return {
    close() {
      self.closed = true;
      clearTimeout(self.hiding);
      document.removeEventListener("visibilitychange", visibility);
      removeEventListener("online", online);
      self.abort?.abort();
      self.wake?.();
    },
  };
}

async function run(path, headers, on, self) {
  let wait = FIRST_WAIT;
  while (!self.closed) {
    if (document.hidden) {
      on.state?.("paused");
      await woken(self);
      continue;
    }
    const begun = performance.now();
    const end = await once(path, headers, on, self);
    if (self.closed) return;
    if (end === CAUGHT_UP) {
      wait = FIRST_WAIT;
      await woken(self, self.nap * (0.75 + Math.random() / 2));
      continue;
    }
    if (end) {
      on.ended?.(end);
      return;
    }
    if (document.hidden) continue;
    if (performance.now() - begun > LONGEST_WAIT) wait = FIRST_WAIT;
    on.state?.("waiting");
    await woken(self, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

/** Sleep so long, or until something wakes us. */
function woken(self, milliseconds) {
  return new Promise((done) => {
    const timer = milliseconds === undefined ? 0 : setTimeout(done, milliseconds);
    self.wake = () => {
      clearTimeout(timer);
      done();
    };
  });
}

/** One connection, until it breaks or has caught up; the status if the service will never answer. */
async function once(path, headers, on, self) {
  self.abort = new AbortController();
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => self.abort.abort(), SILENCE);
  };
  try {
    heard();
    const resume = self.last === null ? {} : { "Last-Event-ID": self.last };
    const response = await fetch(path, {
      headers: { ...headers(), Accept: "text/event-stream", ...resume },
      signal: self.abort.signal,
      cache: "no-store",
    });
    if ([401, 403, 404].includes(response.status)) return response.status;
    if (!response.ok) return null;
    on.state?.("live");
    let caughtUp = false;
    const parser = new Parser(
      (name, data, id) => {
        if (id !== null) self.last = id;
        on.event(name, data, id);
      },
      (words) => (caughtUp ||= words === UP_TO_DATE),
    );
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || self.closed) return null;
      heard();
      parser.take(value);
      if (caughtUp && self.nap) {
        self.abort.abort();
        return CAUGHT_UP;
      }
    }
  } catch {
    return null; // the network's, an abort of ours: both are taken up again
  } finally {
    clearTimeout(silence);
  }
}

/** The event stream's lines, as WHATWG has them. */
export class Parser {
  constructor(emit, comment = () => null) {
    this.emit = emit;
    this.comment = comment;
    this.rest = "";
    this.reset();
  }

  reset() {
    this.name = "message";
    this.data = [];
    this.id = null;
  }

  take(text) {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  line(line) {
    if (line === "") {
      if (this.data.length) this.emit(this.name, JSON.parse(this.data.join("\n")), this.id);
      this.reset();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) this.comment(line.slice(1).trim());
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.name = value;
    else if (field === "data") this.data.push(value);
    else if (field === "id") this.id = value;
  }
}

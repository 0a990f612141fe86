/** The public API, as the page uses it: the same operations as any other client. */

import { stream } from "./live.js";

/** What went wrong, in the service's words. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The token of a share link, which lies in the address's fragment: no server sees it there. */
export function shareToken() {
  return new URLSearchParams(location.hash.slice(1)).get("share");
}

function headers(more) {
  const token = shareToken();
  return token ? { Authorization: `Bearer ${token}`, ...more } : { ...more };
}

/** A request; the answer if it went well, else an `ApiError` or the network's `TypeError`. */
export async function request(path, { method = "GET", body, accept, signal } = {}) {
  const options = { method, signal, headers: headers(accept ? { Accept: accept } : {}) };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const response = await fetch(path, options);
  if (response.ok) return response;
  let message = response.statusText || `status ${response.status}`;
  try {
    const answer = await response.json();
    message = answer.error?.message ?? answer.message ?? message;
  } catch {
    // Not one of the service's own answers: the status has to do.
  }
  throw new ApiError(response.status, message);
}

async function json(path, options) {
  return (await request(path, options)).json();
}

/** Where a job is in the API. */
export function at(id, rest = "") {
  return `/v1/fine-tunes/${encodeURIComponent(id)}${rest}`;
}

/** Parameters as a query string; what is null or "" is left out. */
export function parameters(given) {
  const pairs = Object.entries(given).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

export const service = {
  /** Whether this is a copy that knows no service. */
  offline: false,

  whoami: (options) => json("/v1/whoami", options),

  /** A page of jobs, newest first, and how many match. */
  async jobs({ search, status, limit, offset }, options) {
    const response = await request(`/v1/fine-tunes${parameters({ search, status, limit, offset })}`, options);
    const { data } = await response.json();
    return { jobs: data, matched: Number(response.headers.get("Tunelog-Matched") ?? data.length) };
  },

  job: (id, options) => json(at(id), options),
  attempts: async (id, options) => (await json(at(id, "/attempts"), options)).data,
  checkpoints: async (id, options) => (await json(at(id, "/checkpoints"), options)).data,

  /** Rows of many jobs: `{id: {metrics, matched, returned, cursor} | {error}}`. */
  async query(body, options) {
    const whole = { nonfinite: "string", ...body };
    const answer = drafted(whole) ?? (await json("/v1/metrics/query", { ...options, method: "POST", body: whole }));
    return answer.jobs;
  },

  summary: (id, given, options) => json(`${at(id, "/metrics/summary")}${parameters(given)}`, options),

  /** The names of a job's metrics: the columns of a CSV answer without train rows. */
  async metrics(id, options) {
    const response = await request(`${at(id, "/metrics")}?resolution=1`, { ...options, accept: "text/csv" });
    const text = await response.text();
    return header(text.slice(0, text.search(/\r?\n/)));
  },

  /** Every row, unsampled, in a format: for downloads. */
  async rows(id, given, accept) {
    return request(`${at(id, "/metrics")}${parameters(given)}`, { accept });
  },

  /** Follow a job from a cursor on; see `live.js`. */
  follow(id, cursor, on, nap) {
    const path = `${at(id, "/metrics")}${parameters({ after: cursor, nonfinite: "string" })}`;
    return stream(path, () => headers({}), on, nap);
  },

  shares: async () => (await json("/v1/shares")).data,
  createShare: (body) => json("/v1/shares", { method: "POST", body }),
  revokeShare: (id) => request(`/v1/shares/${encodeURIComponent(id)}`, { method: "DELETE" }),
  signIn: (apiKey) => request("/session", { method: "POST", body: { api_key: apiKey } }),
  signOut: () => request("/session", { method: "DELETE" }),
};

/** The answer to this that came with the page; null if none did, or only half of it. */
function drafted(body) {
  const element = document.getElementById("draft");
  element?.remove(); // it was made for the first reading, and no later one
  if (shareToken() || element?.dataset.question !== JSON.stringify(body)) return null;
  try {
    return JSON.parse(element.textContent);
  } catch {
    return null;
  }
}

/** The names in a line of CSV. */
function header(line) {
  const names = [];
  for (const [, quoted, plain] of line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)) {
    names.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
  }
  return names;
}

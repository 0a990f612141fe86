/* Asks for the curves that the address names while the modules are still on their way; curves.js
   takes the answer. A plain script: it has to run before any module is there. */
(() => {
  const jobs = [...new Set(new URLSearchParams(location.search).getAll("job").filter(Boolean))];
  if (!jobs.length || new URLSearchParams(location.hash.slice(1)).get("share")) return;
  // As `Curves.draft` asks: a test holds the two to each other.
  const resolution = Math.round(Math.min(200, Math.max(40, 2400 / jobs.length)));
  const body = JSON.stringify({ nonfinite: "string", jobs, resolution });
  const options = { method: "POST", body, headers: { "Content-Type": "application/json" } };
  const answer = fetch("/v1/metrics/query", options);
  answer.catch(() => null); // told to whoever takes it
  window.early = { body, answer };
  new Intl.NumberFormat("en"); // the first takes its time, of which there is some now
})();

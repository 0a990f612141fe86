/* Asks for the curves that the address names while the modules are still on their way; curves.js
   takes the answer. A plain script: it has to run before any module is there. */
(() => {
  const jobs = [...new Set(new URLSearchParams(location.search).getAll("job").filter(Boolean))];
  if (!jobs.length || new URLSearchParams(location.hash.slice(1)).get("share")) return;
  // As `Curves.draft` asks: a test holds the two to each other.
  const body = JSON.stringify({ nonfinite: "string", jobs, resolution: jobs.length > 12 ? 100 : 400 });
  const options = { method: "POST", body, headers: { "Content-Type": "application/json" } };
  const answer = fetch("/v1/metrics/query", options);
  answer.catch(() => null); // told to whoever takes it
  window.early = { body, answer };
})();

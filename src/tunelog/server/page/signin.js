/** Signing in with a key. The key goes into one request and is kept nowhere; a cookie stays. */

import { h } from "./dom.js";

/** The view for whoever is not signed in: `{element, close()}`. */
export function signInView({ source, view, done, shared }) {
  const problem = h("p", { className: "problem", role: "alert" });
  const input = h("input", { type: "password", name: "api_key", autocomplete: "current-password", spellcheck: false, required: true, placeholder: "tl-…", id: "api-key" });
  const button = h("button", { type: "submit", className: "primary" }, "Sign in");

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      await source.signIn(input.value.trim());
      input.value = "";
      done();
    } catch (error) {
      problem.textContent = error.status === 401 ? "There is no such key, or it was revoked." : error.status === undefined ? "The service does not answer." : error.message;
      input.select();
    } finally {
      button.disabled = false;
    }
  }

  const form = h("form", { onsubmit: submit }, h("label", { for: "api-key", htmlFor: "api-key" }, "API key"), input, button, problem);
  const expired = view.signIn === "expired" ? h("p", { className: "hint" }, "That sign-in link was used already, or is older than ten minutes. Every start of the service prints a new one.") : null;
  const element = h(
    "main",
    { className: "sign-in" },
    h("h1", {}, "tunelog"),
    shared ? h("p", { className: "hint" }, "This share link has expired or was revoked. Ask whoever sent it for another, or sign in.") : null,
    expired,
    form,
    h("p", { className: "quietly" }, "The first start of ", h("code", {}, "tunelog serve"), " printed a key, ", h("code", {}, "tunelog keys create"), " makes one; and every start prints a link that signs you in without."),
  );
  document.title = "Sign in · tunelog";
  return { element, ready: Promise.resolve(input.focus()), apply() {}, close() {} };
}

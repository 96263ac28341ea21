// What the address says is what is shown; the keyboard reaches everything.

import { ask, keepKey } from "./api.js";
import { documents, el, keepAccents, languageTag } from "./dom.js";
import { showSearch } from "./search.js";
import { showToken } from "./tokens.js";

const find = (id) => document.getElementById(id);
const [main, status, box, form, keyForm] = ["main", "status", "box", "form", "key-form"].map(find);
const LONGEST_WAIT = 30;
let info = null;
let running = new AbortController();
let failures = 0;

function place() {
  const address = new URLSearchParams(location.search);
  if (address.has("token")) return { token: address.get("token") };
  const pairs = address.getAll("filter").filter((pair) => pair.includes("="));
  const filter = Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]));
  if (address.get("language")) filter.language = address.get("language");
  return { query: address.get("q") ?? "", filter };
}

function addressOf({ token, query, filter = {} }) {
  if (token !== undefined) return `/?token=${encodeURIComponent(token)}`;
  const rest = Object.entries(filter).map(([field, value]) => field === "language"
    ? `&language=${encodeURIComponent(value)}` : `&filter=${encodeURIComponent(`${field}=${value}`)}`);
  return query ? `/?q=${encodeURIComponent(query)}${rest.join("")}` : "/";
}

function go(where, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", addressOf(where));
  show(where);
}

async function show(where = place()) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const tokens = where.token !== undefined;
  const asked = (tokens ? where.token : where.query).trim();
  box.value = asked;
  box.placeholder = tokens ? "A token, or words to take apart" : "Search in any language the model reads";
  box.setAttribute("aria-label", tokens ? "Token" : "Query");
  form.querySelector("button").textContent = tokens ? "Look up" : "Search";
  for (const [id, current] of [["to-tokens", tokens], ["to-search", !tokens]]) {
    if (current) find(id).setAttribute("aria-current", "page");
    else find(id).removeAttribute("aria-current");
  }
  document.title = asked ? `${asked} – Isthmus explorer` : "Isthmus explorer";
  status.classList.remove("bad");
  main.classList.add("busy");
  try {
    if (info === null || failures) await learn(signal);
    if (!asked) welcome(tokens);
    else if (tokens) await showToken({ token: asked, info, main, status, signal });
    else await showSearch({ ...where, query: asked, info, main, status, go, signal });
    failures = 0;
  } catch (error) {
    if (error.name === "AbortError") return;
    main.replaceChildren();
    status.textContent = error.message;
    status.classList.add("bad");
    if (error.passing) later(error, where, signal);
    if (error.status === 401) {
      keyForm.hidden = false;
      find("key").focus();
    }
  } finally {
    if (!signal.aborted) main.classList.remove("busy");
  }
}

// Ask again by itself, later each time, and at once where the reader wants.
function later(error, where, signal) {
  failures += 1;
  let left = Math.min(LONGEST_WAIT, Math.max(error.after, 2 ** failures));
  const again = () => show(where);
  const words = el("span", {});
  const tell = () => words.replaceChildren(` Trying again in ${left} s. `);
  tell();
  status.append(words);
  main.replaceChildren(el("button", { type: "button", class: "more", onclick: again }, "Try now"));
  const timer = setInterval(() => {
    left -= 1;
    if (left > 0) tell();
    else again();
  }, 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

async function learn(signal) {
  info = await ask("api/info", { signal });
  keepAccents(info.languages);
  keyForm.hidden = true;
  const model = info.model ? `, read by ${info.model}` : "";
  find("about").textContent = `${documents(info.documents)} in ${info.index}${model}`;
}

function welcome(tokens) {
  status.textContent = "";
  const text = tokens
    ? "Type a token to see the source tokens it was made of, the tokens it went into, and its neighbours. A longer text is taken apart."
    : "Type a query. Every hit shows the tokens it shares with the query and where they stand in the text.";
  const link = ({ text: query, language }) => el("li", {}, language ? languageTag(language) : null,
    el("a", { href: addressOf({ query }), dir: "auto", lang: language }, query));
  main.replaceChildren(...[
    el("p", { class: "start" }, text),
    tokens || !info.examples.length ? null : el("section", { class: "begin" },
      el("h2", {}, "Try one of these"),
      el("p", { class: "note" }, "How documents of this index begin."),
      el("ul", { class: "examples" }, ...info.examples.map(link))),
    !info.languages.length ? null : el("section", { class: "begin" },
      el("h2", {}, info.languages.length === 1 ? "One language" : `${info.languages.length} languages`),
      el("ul", { class: "languages" }, ...info.languages.map((one) =>
        el("li", {}, languageTag(one.code), ` ${documents(one.documents)}`)))),
  ].filter(Boolean));
}

function hitHeads() {
  return [...main.querySelectorAll(".hit > .head")];
}

function move(event) {
  const heads = hitHeads();
  const at = heads.findIndex((head) => head.parentElement.contains(document.activeElement));
  if (!heads.length || (at < 0 && document.activeElement !== box)) return;
  event.preventDefault();
  const next = event.key === "ArrowDown" ? at + 1 : at - 1;
  if (next < 0) box.focus();
  else if (next < heads.length) {
    heads[next].focus({ preventScroll: true });
    heads[next].parentElement.scrollIntoView({ block: "nearest" });
  }
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "Escape" && event.target !== find("key")) {
    box.focus();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    move(event);
  }
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = box.value.trim();
  const where = place();
  go(where.token !== undefined ? { token: asked } : { query: asked, filter: where.filter });
});

keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(find("key").value.trim());
  show();
});

// Links between pages stay in this one.
addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || link.origin !== location.origin || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  scrollTo(0, 0);
  show();
});
addEventListener("popstate", () => show());
await show();
if (!box.value) box.focus();

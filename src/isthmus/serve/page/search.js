// Searching: hits with what they matched, the query's expansion, and languages to choose from.

import { ask } from "./api.js";
import { accent, bars, el, languageName, marked, tokenLink } from "./dom.js";

const PAGE = 10;
const TERMS_SHOWN = 6;
const TERMS_EXPANDED = 24;
const SHORT = 420;
const languages = new Set();

export async function showSearch({ query, language, count = PAGE, info, main, status, go, signal }) {
  const started = performance.now();
  const most = info.limits.top_k;
  const top_k = Math.min(count, most);
  const body = { query, top_k, matches: true, expansion: Math.min(TERMS_EXPANDED, most), characters: SHORT };
  if (language) body.filter = { language };
  const found = await ask("api/search", { body, signal });
  const milliseconds = performance.now() - started;
  for (const hit of found.hits) if (hit.language) languages.add(hit.language);

  const hits = el("ol", { class: "hits", "aria-label": "Hits" });
  hits.append(...found.hits.map((hit, place) => hitOf(hit, place, query, hits)));
  const column = el("div", {}, hits);
  if (found.hits.length === top_k && top_k < most) {
    const more = () => go({ query, language, count: count + PAGE }, { replace: true });
    column.append(el("button", { class: "more", type: "button", onclick: more }, "Show more"));
  }
  if (!found.hits.length) {
    hits.replaceWith(el("p", { class: "start" }, "No document shares a token with the query",
      language ? ` in ${languageName(language)}.` : "."));
  }
  // Null where the index does not list its fields, and any may be asked for.
  const filterable = (info.fields?.includes("language") ?? true) && languages.size > 1;
  main.replaceChildren(el("div", { class: "columns" }, column, el("aside", { "aria-label": "About the query" },
    filterable || language ? choices(query, language, found.hits, go) : null, expansion(found.expansion))));
  const { timing } = found;
  status.textContent = `${found.hits.length} ${found.hits.length === 1 ? "hit" : "hits"} in ` +
    `${Math.round(milliseconds)} ms (encoding ${Math.round(timing.encode_ms)}, searching ${Math.round(timing.search_ms)})`;
}

function hitOf(hit, place, query, hits) {
  const sign = el("span", { class: "sign", "aria-hidden": "true" }, "+");
  const head = el("button", { class: "head", type: "button", "aria-expanded": "false" },
    el("span", { class: "rank" }, String(place + 1)),
    hit.language ? el("span", { class: `tag ${accent(hit.language)}` }, languageName(hit.language)) : null,
    el("bdi", {}, hit.id),
    el("span", { class: "score" }, hit.score.toFixed(2)),
    sign);
  const item = el("li", { class: "hit" }, head, ...texts(hit), matchedLine(hit.matches));
  const state = { item, head, sign, hit, query, why: null, short: null };
  head.addEventListener("click", () => toggle(state));
  return item;
}

function texts(hit) {
  const most = Math.max(0, ...[...hit.title.spans, ...hit.text.spans].map((span) => span.score));
  const options = { lang: hit.language };
  return [
    hit.title.text ? marked(hit.title, most, { ...options, class: "title" }) : null,
    hit.text.text ? marked(hit.text, most, { ...options, class: "text" }) : null,
  ].filter((text) => text !== null);
}

function matchedLine(matches) {
  const shown = matches.slice(0, TERMS_SHOWN).map((match) =>
    el("span", {}, tokenLink(match.text), ` ${match.score.toFixed(2)}`));
  const rest = matches.length - shown.length;
  return el("p", { class: "terms" }, ...shown, rest > 0 ? el("span", {}, `and ${rest} more`) : null);
}

async function toggle(state) {
  const open = state.head.getAttribute("aria-expanded") === "true";
  state.head.setAttribute("aria-expanded", String(!open));
  state.sign.textContent = open ? "+" : "−";
  if (open) {
    state.item.replaceChildren(...state.short);
    state.head.focus();
    return;
  }
  state.short = [...state.item.childNodes];
  try {
    state.why ??= why(await ask("api/explain", { body: { query: state.query, id: state.hit.id } }));
  } catch (error) {
    state.why = null;
    state.item.append(el("p", { class: "status bad" }, error.message));
    return;
  }
  // It may have been closed while the answer was on its way.
  if (state.head.getAttribute("aria-expanded") !== "true") return;
  state.item.replaceChildren(state.head, ...state.why);
  state.head.focus();
}

function why(found) {
  const spans = [["title", found.title], ["text", found.text]].flatMap(([, part]) => {
    const letters = Array.from(part.text);
    return part.spans.map((span) => ({ ...span, word: letters.slice(span.start, span.end).join("") }));
  });
  const rows = found.matches.map((match) => {
    const words = [...new Set(spans.filter((span) => span.terms.includes(match.text)).map((span) => span.word))]
      .filter((word) => word.toLowerCase() !== match.text.replace(/^##/, "").toLowerCase());
    const note = words.slice(0, 4).flatMap((word, place) => [place ? ", " : "in the text as ", el("bdi", {}, word)]);
    const shown = `${match.query_weight.toFixed(2)} × ${match.document_weight.toFixed(2)} = ${match.score.toFixed(2)}`;
    return { text: match.text, value: match.score, shown, note: words.length ? note : null };
  });
  const metadata = Object.entries(found.metadata).filter(([key]) => key !== "language");
  return [...texts(found), el("div", { class: "why" },
    el("h3", {}, `Why: ${rows.length} shared ${rows.length === 1 ? "token" : "tokens"}, ${found.score.toFixed(2)} in all`),
    el("p", { class: "note" }, "Weight in the query × weight in the document. Marks show where these tokens, or words made of them, stand."),
    rows.length ? bars(rows) : null,
    metadata.length ? el("p", { class: "note" }, metadata.map(([key, value]) =>
      `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("; ")) : null)];
}

function expansion(terms) {
  const rows = terms.map((term) => ({ text: term.text, value: term.weight }));
  const wide = matchMedia("(min-width: 60rem)").matches;
  return el("section", {}, el("details", { open: wide },
    el("summary", {}, "What the query was read as"),
    el("p", { class: "note" }, "The heaviest tokens of its vector. Each leads to its page."),
    rows.length ? bars(rows) : el("p", { class: "note" }, "nothing")));
}

function choices(query, chosen, hits, go) {
  const counts = new Map();
  for (const hit of hits) counts.set(hit.language, (counts.get(hit.language) ?? 0) + 1);
  const button = (language, text) => el("button", {
    type: "button", "aria-pressed": String((chosen ?? null) === language),
    onclick: () => go({ query, language: language ?? undefined }),
  }, language ? el("i", { class: accent(language) }) : null, text);
  return el("section", {}, el("h3", {}, "Languages"), el("div", { class: "choices" }, button(null, "All"),
    ...[...languages].sort().map((language) => button(language,
      chosen ? languageName(language) : `${languageName(language)} ${counts.get(language) ?? 0}`))));
}
